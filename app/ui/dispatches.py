"""The pages of dispatches: the list, one of them, what may be done about it, and the form for a new one."""

import re
import zlib
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from app.errors import BadRequest, DispatchNotFound, HubError
from app.hub import Hub
from app.models import DispatchRequest, DispatchStatus, Principal
from app.schemas import DispatchAsyncIn, explain
from app.storage import dispatches
from app.ui.addresses import cursor, dispatch_url
from app.ui.filter import RECENT_DISPATCHES, chosen
from app.ui.render import Renderer
from app.ui.story import story

LOOK_SEC = 2.0
"""So long a button waits for what it has begun; the page tells the rest."""
LABELS = {
    "projectId": "Project",
    "threadId": "Thread",
    "threadName": "Thread",
    "message": "Message",
    "timeoutSec": "Time limit",
    "callbackChannel": "Channel to tell",
}
"""The fields of the form by their names on the wire."""
_THREAD_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
FIELDS = ("project", "thread", "create", "message", "limit", "channel", "key")


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(prefix="/dispatches")

    @router.get("")
    async def index(request: Request) -> HTMLResponse:
        before = cursor("before", request.query_params.get("before"))
        wanted = chosen(request.query_params)
        rows = await hub.database.read(dispatches.page, RECENT_DISPATCHES + 1, before, **wanted.conditions)
        shown = rows[:RECENT_DISPATCHES]
        return renderer.page(
            request,
            "dispatches/index.html",
            pauses=await hub.dispatches.pauses(),
            dispatches=[await renderer.dispatch(dispatch) for dispatch in shown],
            older=wanted.url(before=shown[-1].seq) if len(rows) > RECENT_DISPATCHES else None,
            is_live=before is None,
            chosen=wanted,
            statuses=["", *DispatchStatus],
        )

    async def form(request: Request, given: dict[str, str], refused: HubError | None = None) -> HTMLResponse:
        projects, error = [], refused
        try:
            projects = await hub.dispatches.projects()
        except HubError as problem:
            error = refused or problem
        return renderer.page(
            request,
            "dispatches/new.html",
            refused.http_status if refused else 200,
            form={**dict.fromkeys(FIELDS, ""), "key": uuid4().hex, **given},
            error=error,
            is_refused=refused is not None,
            projects=projects,
            channels=await hub.chat.channels(),
        )

    @router.get("/new")
    async def new(request: Request) -> HTMLResponse:
        """The form; links fill in its project and thread."""
        return await form(request, {name: request.query_params.get(name, "") for name in ("project", "thread")})

    @router.post("/new")
    async def create(request: Request) -> Any:
        fields = await request.form()
        values = {name: fields.get(name) for name in FIELDS}
        given = {name: value if isinstance(value, str) else "" for name, value in values.items()}
        # Forms send every line end as two characters; what was typed had one.
        given["message"] = given["message"].replace("\r\n", "\n")
        try:
            dispatch = await hub.dispatches.submit(_request(given, request.scope["principal"]))
        except HubError as error:
            return await form(request, given, error)
        return RedirectResponse(dispatch_url(dispatch.id), 303)

    @router.get("/{dispatch_id}")
    async def show(request: Request, dispatch_id: str) -> HTMLResponse:
        told = await story(hub, dispatch_id)
        return renderer.page(
            request,
            "dispatches/show.html",
            dispatch=told.dispatch,
            stamp=told.stamp,
            steps=[await renderer.step(item, item is told.reply_item) for item in told.items],
            parts=await renderer.parts(told),
        )

    async def do(request: Request, dispatch_id: str, work: Awaitable[Any]) -> Any:
        """Do something about a dispatch, and show what came of it."""
        try:
            await work
        except DispatchNotFound:
            raise
        except HubError as error:
            back = (dispatch_url(dispatch_id), "Back to the dispatch")
            return renderer.error(request, error.http_status, "That did not work", error.message, back)
        return RedirectResponse(dispatch_url(dispatch_id), 303)

    @router.post("/{dispatch_id}/cancel")
    async def cancel(request: Request, dispatch_id: str) -> Any:
        return await do(request, dispatch_id, hub.dispatches.cancel(dispatch_id))

    @router.post("/{dispatch_id}/deliver")
    async def deliver(request: Request, dispatch_id: str) -> Any:
        return await do(request, dispatch_id, hub.dispatches.deliver(dispatch_id, None, LOOK_SEC))

    @router.post("/{dispatch_id}/recover")
    async def recover(request: Request, dispatch_id: str) -> Any:
        return await do(request, dispatch_id, hub.dispatches.recover(dispatch_id, None, LOOK_SEC))

    return router


def _request(given: dict[str, str], principal: Principal) -> DispatchRequest:
    """What the form asks for.

    Raises:
        BadRequest: a field is wrong; the text calls it by its label.
    """
    thread, limit = given["thread"].strip(), given["limit"].strip()
    # The same form sent twice is one dispatch; sent again with other words, it is another.
    content = repr([given[name] for name in FIELDS if name != "key"])
    wire = {
        "projectId": given["project"],
        "threadId" if _THREAD_ID.fullmatch(thread) else "threadName": thread,
        "createIfMissing": bool(given["create"] or not thread),
        "message": given["message"],
        "timeoutSec": limit,
        "callbackChannel": given["channel"].strip(),
        "idempotencyKey": given["key"] and f"{given['key']}-{zlib.crc32(content.encode()):08x}",
    }
    try:
        asked = DispatchAsyncIn.model_validate({name: value for name, value in wire.items() if value != ""})
        return asked.request(principal=principal)
    except ValidationError as error:
        problem = explain(error)
        field = str(problem.details["field"])
        raise BadRequest(problem.message.replace(field, LABELS.get(field, field), 1), field=field) from None
