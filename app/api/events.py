"""`/api/events`: messages as server-sent events, for programs that want to be told."""

from collections.abc import AsyncIterator
from functools import lru_cache

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.body import integer
from app.api.openapi import errors, query
from app.hub import Hub
from app.models import Message, Topic
from app.schemas import KEPT_CHARS, KEPT_MESSAGES, MessageBytes
from app.sse import EventStream

BATCH = 200


class MessageFeed:
    """The messages of a channel, or of all of them, after an id."""

    def __init__(self, hub: Hub, encoded: "MessageEvents", target: str | None, since_id: int) -> None:
        self.topics = (Topic.MESSAGES if target is None else Topic.channel(target),)
        self._hub = hub
        self._encoded = encoded
        self._target = target
        self._since_id = since_id

    async def news(self) -> AsyncIterator[bytes]:
        is_more = True
        while is_more and (found := await self._hub.chat.after(self._target, self._since_id, BATCH)):
            self._since_id = found[-1].id
            is_more = len(found) == BATCH
            yield b"".join(map(self._encoded.one, found))


class MessageEvents:
    """Messages as events, encoded once for all who watch."""

    def __init__(self, encoded: MessageBytes) -> None:
        self._json = encoded
        self._kept = lru_cache(KEPT_MESSAGES)(self._event)

    def one(self, message: Message) -> bytes:
        return self._kept(message) if len(message.text) <= KEPT_CHARS else self._event(message)

    def _event(self, message: Message) -> bytes:
        return b"event: message\nid: %d\ndata: %b\n\n" % (message.id, self._json.one(message))


def routes(hub: Hub, encoded: MessageBytes) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["channels"])
    events = MessageEvents(encoded)

    @router.get(
        "/events",
        summary="Messages as they come, as server-sent events",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **errors(400)},
        openapi_extra={
            "parameters": [
                query("target", "string", "The channel; all channels if left out."),
                query("last_event_id", "integer", "Start after this message; the header Last-Event-ID does the same."),
            ]
        },
    )
    async def get_events(request: Request) -> EventStream:
        target = request.query_params.get("target")
        target = None if target is None else target.strip()
        since = integer(request, "last_event_id", header="last-event-id")
        if since is None:
            since = await hub.chat.last_id(target)
        return EventStream(hub.bus, MessageFeed(hub, events, target, since))

    return router
