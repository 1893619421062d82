"""`/api/messages` and `/api/channels`: the seed's routes and what goes past them, for curl, jq and the page."""

from collections.abc import Mapping
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from app.api.body import clamped, header, integer, json_object, seconds
from app.api.openapi import errors, json_body, query
from app.errors import BadRequest
from app.hub import Hub
from app.models import Message
from app.schemas import MessageBytes, MessageOut, json_bytes
from app.storage.messages import is_full

MOST = 500
MOST_WAIT_SEC = 60


class PostIn(BaseModel):
    target: str = Field(description="The channel; made if it is new.")
    sender: str | None = Field(None, description="Who writes. Whoever is known by a name may leave it out.")
    text: str = Field(description="Markdown, kept to the letter.")
    reply_to: int | None = Field(None, description="Id of the message of this channel that it answers.")
    idempotency_key: str | None = Field(
        None, description="The same key of the same sender posts once. The header Idempotency-Key does the same."
    )


class PostedOut(BaseModel):
    ok: bool
    posted: int = Field(description="The message's id.")
    message: MessageOut


class MessagesOut(BaseModel):
    target: str
    messages: list[MessageOut]
    latest_id: int | None = Field(None, description="With since_id or wait: the next since_id.")
    has_more: bool | None = Field(None, description="With since_id, before_id or wait: whether there are more.")


class MessageAnswer(BaseModel):
    message: MessageOut


class FoundOut(BaseModel):
    query: str
    messages: list[MessageOut] = Field(description="Newest first.")
    has_more: bool = Field(description="Whether there are older ones: ask with before_id.")


class ChannelsOut(BaseModel):
    channels: list[str]


class JsonBytes(Response):
    """An answer that is encoded already."""

    media_type = "application/json"


def routes(hub: Hub, encoded: MessageBytes) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["channels"])

    @router.get(
        "/messages",
        summary="Messages of a channel, oldest first: the newest, those after an id, or those to come",
        responses={200: {"model": MessagesOut}, **errors(400, 503)},
        openapi_extra={
            "parameters": [
                query("target", "string", "The channel.", "proj-x"),
                query("limit", "integer", f"How many, clamped to 1 to {MOST}.", 200),
                query("since_id", "integer", "The oldest after this id, instead of the newest."),
                query("before_id", "integer", "The newest before this id."),
                query("sender", "string", "Only messages of this sender."),
                query(
                    "wait",
                    "number",
                    f"Wait so many seconds, up to {MOST_WAIT_SEC}, for a message after since_id, or for the next one.",
                ),
            ]
        },
    )
    async def get_messages(request: Request) -> Response:
        params = request.query_params
        target = params.get("target", "proj-x")
        limit = clamped(request, "limit", 200, MOST)
        since_id, before_id = integer(request, "since_id"), integer(request, "before_id")
        wait = seconds(request, "wait", MOST_WAIT_SEC)
        if before_id is not None and (since_id is not None or wait is not None):
            raise BadRequest("before_id goes with neither since_id nor wait", field="before_id")
        sender = params.get("sender")
        if since_id is None and wait is None:
            # One more than asked for tells whether there are more.
            more = before_id is not None
            found = await hub.chat.newest(target, limit + more, before_id, sender)
            return _answer(target, found[-limit:], {"has_more": is_full(found, limit + 1)} if more else {})
        if since_id is None:
            since_id = await hub.chat.last_id(target)
        read = partial(hub.chat.after, target, since_id, limit + 1, sender)
        if wait:
            with request.scope["streams"].one():
                found = await hub.chat.wait(read, target, wait)
        else:
            found = await read()
        shown = found[:limit]
        extra = {"latest_id": shown[-1].id if shown else since_id, "has_more": is_full(found, limit + 1)}
        return _answer(target, shown, extra)

    @router.post(
        "/messages",
        summary="Post a message",
        status_code=201,
        responses={201: {"model": PostedOut}, **errors(400, 409, 413, 415, 503)},
        openapi_extra=json_body(PostIn),
    )
    async def post_message(request: Request) -> Response:
        body = await json_object(request)
        key = body.get("idempotency_key")
        message = await hub.chat.post(
            target=body.get("target"),
            sender=body.get("sender"),
            text=body.get("text"),
            source="web-ui",
            principal=request.scope["principal"],
            reply_to=body.get("reply_to"),
            idempotency_key=header(request, "idempotency-key") if key in (None, "") else key,
        )
        return JsonBytes(b'{"ok":true,"posted":%d,"message":%b}' % (message.id, encoded.one(message)), 201)

    @router.get(
        "/messages/search",
        summary="Messages that hold all words of a query, newest first",
        responses={200: {"model": FoundOut}, **errors(400)},
        openapi_extra={
            "parameters": [
                query("q", "string", 'Words; "quotes" make a phrase, word* the beginning of a word.', required=True),
                query("target", "string", "Only in this channel."),
                query("sender", "string", "Only of this sender."),
                query("before_id", "integer", "Only messages before this id."),
                query("limit", "integer", f"How many, clamped to 1 to {MOST}.", 50),
            ]
        },
    )
    async def search_messages(request: Request) -> Response:
        params = request.query_params
        asked = params.get("q", "")
        limit = clamped(request, "limit", 50, MOST)
        found = await hub.chat.search(
            asked,
            target=params.get("target"),
            sender=params.get("sender"),
            before_id=integer(request, "before_id"),
            limit=limit + 1,
        )
        more = b"true" if is_full(found, limit + 1) else b"false"
        return JsonBytes(
            b'{"query":%b,"messages":%b,"has_more":%b}' % (json_bytes(asked), encoded.many(found[:limit]), more)
        )

    @router.get(
        "/messages/{message_id}",
        summary="One message",
        responses={200: {"model": MessageAnswer}, **errors(400, 404)},
    )
    async def get_message(message_id: str) -> Response:
        if not (message_id.isascii() and message_id.isdigit() and len(message_id) < 20):
            raise BadRequest("The id of a message is a whole number", field="message_id")
        return JsonBytes(b'{"message":%b}' % encoded.one(await hub.chat.get(int(message_id))))

    @router.get("/channels", summary="All channels", responses={200: {"model": ChannelsOut}, **errors()})
    async def get_channels() -> JSONResponse:
        return JSONResponse({"channels": [channel.name for channel in await hub.chat.channels()]})

    def _answer(target: str, messages: list[Message], extra: Mapping[str, int]) -> Response:
        head = json_bytes({"target": target, **extra})
        return JsonBytes(b'%b,"messages":%b}' % (head[:-1], encoded.many(messages)))

    return router
