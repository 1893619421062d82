"""`/api/pauses`: what the loop guard has paused, and letting it go on."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app.api.body import json_object
from app.api.openapi import errors, json_body
from app.hub import Hub
from app.models import Pause
from app.schemas import Id, Time, Wire, explain


class PauseOut(Wire):
    """A chain of dispatches, or a whole Codex home, that takes no more requests until a human resumes it."""

    key: str
    reason: str
    paused_at: Time
    resumed_at: Time | None
    resumed_by: str | None

    @classmethod
    def of(cls, pause: Pause) -> "PauseOut":
        return cls(**{name: getattr(pause, name) for name in cls.model_fields})


class PausesOut(Wire):
    pauses: list[PauseOut]


class ResumeIn(Wire):
    """What is to go on: `chain:<id of its first dispatch>` or `home:<path of the Codex home>`."""

    key: Id


def routes(hub: Hub) -> APIRouter:
    router = APIRouter(prefix="/api/pauses", tags=["dispatches"])

    @router.get(
        "",
        summary="What the loop guard has paused, newest first",
        responses={200: {"model": PausesOut}, **errors()},
    )
    async def index() -> JSONResponse:
        found = PausesOut(pauses=[PauseOut.of(pause) for pause in await hub.dispatches.pauses()])
        return JSONResponse(found.model_dump(by_alias=True, mode="json"))

    @router.post(
        "/resume",
        summary="Let it go on; its budgets count from now",
        responses={200: {"model": PauseOut}, **errors(400, 404, 415)},
        openapi_extra=json_body(ResumeIn),
    )
    async def resume(request: Request) -> JSONResponse:
        try:
            given = ResumeIn.model_validate(await json_object(request))
        except ValidationError as error:
            raise explain(error) from None
        pause = await hub.dispatches.resume(given.key, request.scope["principal"])
        return JSONResponse(PauseOut.of(pause).model_dump(by_alias=True, mode="json"))

    return router
