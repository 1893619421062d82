"""The pages as HTML forms and links; everything here works without script."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from app.errors import BadRequest
from app.hub import Hub
from app.security import csrf
from app.ui import approvals, channels, dispatches, pauses, search
from app.ui.render import THEME_COOKIE, THEMES, Renderer

SYSTEM = "system"
"""The theme of whoever has chosen none."""
THEME_SEC = 365 * 24 * 3600


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[csrf.CHECKED])
    router.include_router(channels.routes(hub, renderer))
    router.include_router(dispatches.routes(hub, renderer))
    router.include_router(approvals.routes(hub, renderer))
    router.include_router(pauses.routes(hub, renderer))
    router.include_router(search.routes(hub, renderer))

    @router.post("/theme")
    async def choose_theme(request: Request) -> RedirectResponse:
        """The theme button without script; with script it never gets here."""
        chosen = str((await request.form()).get("theme"))
        if chosen not in (*THEMES, SYSTEM):
            raise BadRequest(f"theme must be one of: {', '.join((*THEMES, SYSTEM))}", field="theme")
        came_from = urlsplit(request.headers.get("referer", ""))
        query = f"?{came_from.query}" if came_from.query else ""
        # One slash alone: with two, the rest would name another host.
        response = RedirectResponse(f"/{came_from.path.lstrip('/')}{query}", 303)
        if chosen == SYSTEM:
            response.delete_cookie(THEME_COOKIE, samesite="strict")
        else:
            response.set_cookie(THEME_COOKIE, chosen, max_age=THEME_SEC, samesite="strict")
        return response

    return router
