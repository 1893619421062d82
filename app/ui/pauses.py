"""The button that lets go on what the loop guard has paused."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from app.errors import HubError
from app.hub import Hub
from app.ui.render import Renderer


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(prefix="/pauses")

    @router.post("/resume")
    async def resume(request: Request) -> Any:
        key = str((await request.form()).get("key", ""))
        try:
            await hub.dispatches.resume(key, request.scope["principal"])
        except HubError as error:
            back = ("/dispatches", "Back to the dispatches")
            return renderer.error(request, error.http_status, "That did not work", error.message, back)
        return RedirectResponse("/dispatches", 303)

    return router
