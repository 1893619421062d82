"""`/api/dispatches`: hand work to a Codex thread, see how it stands, stop it, help it on, list what there was."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field, ValidationError

from app.api.body import clamped, json_object
from app.api.openapi import errors, json_body, query
from app.errors import BadRequest
from app.hub import Hub
from app.models import DispatchStatus, Topic
from app.schemas import (
    AcceptedOut,
    DispatchAsyncIn,
    DispatchFilter,
    DispatchOut,
    Id,
    ItemOut,
    RecoveredOut,
    Wire,
    explain,
    json_bytes,
)
from app.sse import EventStream, event
from app.storage import turn_items

MOST = 200
MOST_RECOVERED = 20
FILTERS = ("status", "projectId", "threadId")

WireT = TypeVar("WireT", bound=Wire)


class CallbackIn(Wire):
    """Whom to tell, if not the thread that was named at the beginning."""

    callback_thread_id: Id | None = None


class BatchIn(CallbackIn):
    """Which dispatches to recover; without a project, those of all."""

    project_id: Id | None = None
    limit: int = Field(MOST_RECOVERED, ge=1, le=MOST_RECOVERED, strict=True)


class BatchOut(Wire):
    project_id: str | None
    recovered: list[RecoveredOut]
    scanned_count: int
    recovered_count: int


class ItemsOut(Wire):
    items: list[ItemOut]


class DispatchFeed:
    """A dispatch whenever it has changed, and each item of its turn whenever that has."""

    def __init__(self, hub: Hub, dispatch_id: str) -> None:
        self.topics = (Topic.dispatch(dispatch_id),)
        self._hub = hub
        self._dispatch_id = dispatch_id
        self._record = b""
        self._seen: dict[str, float] = {}

    async def news(self) -> AsyncIterator[bytes]:
        items = await self._hub.database.read(turn_items.of_dispatch, self._dispatch_id)
        standing = await self._hub.dispatches.standing(self._dispatch_id)
        changed = [item for item in items if self._seen.get(item.item_id) != item.updated_at]
        self._seen |= {item.item_id: item.updated_at for item in changed}
        if changed:
            yield event("items", json_bytes([_json(ItemOut.of(item)) for item in changed]).decode())
        record = json_bytes(_json(DispatchOut.of(standing, self._hub.dispatches.state_path)))
        if record != self._record:
            self._record = record
            yield event("dispatch", record.decode())


class PageOut(Wire):
    dispatches: list[DispatchOut]
    next_cursor: str | None


def routes(hub: Hub) -> APIRouter:
    router = APIRouter(prefix="/api/dispatches", tags=["dispatches"])
    state = hub.dispatches.state_path
    most_wait_sec = hub.settings.mcp_max_wait_sec

    @router.post(
        "",
        summary="Accept a request for a Codex thread; it is worked on in its thread's turn",
        status_code=202,
        responses={202: {"model": AcceptedOut}, **errors(400, 404, 409, 413, 415, 429, 500, 503)},
        openapi_extra=json_body(DispatchAsyncIn),
    )
    async def create(request: Request) -> JSONResponse:
        given = await _given(request, DispatchAsyncIn)
        dispatch = await hub.dispatches.submit(given.request(principal=request.scope["principal"]))
        return JSONResponse(_json(AcceptedOut.of(dispatch, state)), 202)

    @router.get(
        "",
        summary="Dispatches, newest first",
        responses={200: {"model": PageOut}, **errors(400)},
        openapi_extra={
            "parameters": [
                query("status", "string", f"One of {', '.join(DispatchStatus)}."),
                query("projectId", "string", "Only of this project."),
                query("threadId", "string", "Only of this thread."),
                query("limit", "integer", f"How many, clamped to 1 to {MOST}.", 50),
                query("cursor", "string", "nextCursor of the page before."),
            ]
        },
    )
    async def index(request: Request) -> JSONResponse:
        limit = clamped(request, "limit", 50, MOST)
        wanted = {name: request.query_params[name] for name in FILTERS if name in request.query_params}
        rows = await hub.dispatches.page(limit + 1, _cursor(request), **_valid(DispatchFilter, wanted).filters())
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

    @router.get(
        "/{dispatchId}/items",
        summary="What the turn of a dispatch said and did, in order",
        responses={200: {"model": ItemsOut}, **errors(404)},
    )
    async def items(dispatchId: str) -> JSONResponse:  # noqa: N803
        await hub.dispatches.standing(dispatchId)
        found = await hub.database.read(turn_items.of_dispatch, dispatchId)
        return JSONResponse(_json(ItemsOut(items=[ItemOut.of(item) for item in found])))

    @router.get(
        "/{dispatchId}/events",
        summary="A dispatch and the items of its turn as they change, as server-sent events",
        description="`dispatch` carries the record, `items` those items that changed; both come first as they stand.",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **errors(404)},
    )
    async def events(dispatchId: str) -> EventStream:  # noqa: N803
        await hub.dispatches.standing(dispatchId)
        return EventStream(hub.bus, DispatchFeed(hub, dispatchId))

    @router.post(
        "/{dispatchId}/cancel",
        summary="Stop a dispatch; a turn that runs is interrupted, one that has ended stays as it is",
        responses={200: {"model": DispatchOut}, **errors(400, 404, 415)},
    )
    async def cancel(request: Request, dispatchId: str) -> JSONResponse:  # noqa: N803
        await _given(request, Wire)
        await hub.dispatches.cancel(dispatchId)
        return await show(dispatchId)

    @router.post(
        "/{dispatchId}/deliver",
        summary="Tell the end of a dispatch to its callback, also once more",
        responses={200: {"model": DispatchOut}, **errors(400, 404, 415, 503)},
        openapi_extra=json_body(CallbackIn),
    )
    async def deliver(request: Request, dispatchId: str) -> JSONResponse:  # noqa: N803
        given = await _given(request, CallbackIn)
        standing = await hub.dispatches.deliver(dispatchId, given.callback_thread_id, most_wait_sec)
        return JSONResponse(_json(DispatchOut.of(standing, state)))

    @router.post(
        "/{dispatchId}/recover",
        summary="Do what recoverySuggested says, and wait for what comes of it",
        responses={200: {"model": RecoveredOut}, **errors(400, 404, 415, 503)},
        openapi_extra=json_body(CallbackIn),
    )
    async def recover(request: Request, dispatchId: str) -> JSONResponse:  # noqa: N803
        given = await _given(request, CallbackIn)
        done = await hub.dispatches.recover(dispatchId, given.callback_thread_id, most_wait_sec)
        return JSONResponse(_json(RecoveredOut.after(done, state)))

    @router.post(
        "/recover",
        summary="Recover what nobody works on, last changed first",
        responses={200: {"model": BatchOut}, **errors(400, 403, 415, 503)},
        openapi_extra=json_body(BatchIn),
    )
    async def recover_all(request: Request) -> JSONResponse:
        given = await _given(request, BatchIn)
        recovered, scanned = await hub.dispatches.recover_all(
            given.project_id, given.callback_thread_id, given.limit, most_wait_sec
        )
        rows = [RecoveredOut.after(each, state) for each in recovered]
        batch = BatchOut(project_id=given.project_id, recovered=rows, scanned_count=scanned, recovered_count=len(rows))
        return JSONResponse(_json(batch))

    return router


async def _given(request: Request, shape: type[WireT]) -> WireT:
    return _valid(shape, await json_object(request))


def _valid(shape: type[WireT], given: dict[str, Any]) -> WireT:
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        raise explain(error) from None


def _cursor(request: Request) -> int | None:
    text = request.query_params.get("cursor")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest("cursor must be the nextCursor of an earlier answer", field="cursor")
    return int(text)


def _json(shape: Wire) -> dict[str, Any]:
    return shape.model_dump(by_alias=True, mode="json")
