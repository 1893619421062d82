"""`/api/dispatches`: hand work to a Codex thread, see how it stands, list what there was."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app.api.body import clamped, json_object
from app.api.openapi import errors, json_body, query
from app.errors import BadRequest
from app.hub import Hub
from app.schemas import AcceptedOut, DispatchAsyncIn, DispatchOut, Wire, explain

MOST = 200


class PageOut(Wire):
    dispatches: list[DispatchOut]
    next_cursor: str | None


def routes(hub: Hub) -> APIRouter:
    router = APIRouter(prefix="/api/dispatches", tags=["dispatches"])
    state = hub.dispatches.state_path

    @router.post(
        "",
        summary="Accept a request for a Codex thread; it is worked on in its thread's turn",
        status_code=202,
        responses={202: {"model": AcceptedOut}, **errors(400, 404, 409, 413, 415, 500, 503)},
        openapi_extra=json_body(DispatchAsyncIn),
    )
    async def create(request: Request) -> JSONResponse:
        try:
            given = DispatchAsyncIn.model_validate(await json_object(request))
        except ValidationError as error:
            raise explain(error) from None
        dispatch = await hub.dispatches.submit(given.request())
        return JSONResponse(_json(AcceptedOut.of(dispatch, state)), 202)

    @router.get(
        "",
        summary="Dispatches, newest first",
        responses={200: {"model": PageOut}, **errors(400)},
        openapi_extra={
            "parameters": [
                query("limit", "integer", f"How many, clamped to 1 to {MOST}.", 50),
                query("cursor", "string", "nextCursor of the page before."),
            ]
        },
    )
    async def index(request: Request) -> JSONResponse:
        limit = clamped(request, "limit", 50, MOST)
        rows = await hub.dispatches.page(limit + 1, _cursor(request))
        more = rows[limit - 1].dispatch.seq if len(rows) > limit else None
        page = PageOut(
            dispatches=[DispatchOut.of(row, state) for row in rows[:limit]],
            next_cursor=None if more is None else str(more),
        )
        return JSONResponse(_json(page))

    @router.get(
        "/{dispatchId}",
        summary="How a dispatch stands, and its reply",
        responses={200: {"model": DispatchOut}, **errors(404)},
    )
    async def show(dispatchId: str) -> JSONResponse:  # noqa: N803 - the path parameter's public name
        return JSONResponse(_json(DispatchOut.of(await hub.dispatches.standing(dispatchId), state)))

    return router


def _cursor(request: Request) -> int | None:
    text = request.query_params.get("cursor")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest("cursor must be the nextCursor of an earlier answer", field="cursor")
    return int(text)


def _json(shape: Wire) -> dict[str, Any]:
    return shape.model_dump(by_alias=True, mode="json")
