"""`/api/events`: messages as server-sent events, for programs that want to be told."""

from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.body import integer
from app.api.openapi import errors, query
from app.hub import Hub
from app.models import Message, Topic
from app.schemas import MessageBytes, kept_if_short
from app.sse import EventStream
from app.storage.messages import is_full

BATCH = 200


class MessageFeed:
    """The messages of a channel, or of all of them, after an id."""

    def __init__(self, hub: Hub, encoded: Callable[[Message], bytes], target: str | None, since_id: int) -> None:
        """`encoded` makes an event of a message."""
        self.topics = (Topic.posted(target),)
        self._hub = hub
        self._encoded = encoded
        self._target = target
        self._since_id = since_id

    async def news(self) -> AsyncIterator[bytes]:
        is_more = True
        while is_more and (found := await self._hub.chat.after(self._target, self._since_id, BATCH)):
            self._since_id = found[-1].id
            is_more = is_full(found, BATCH)
            yield b"".join(map(self._encoded, found))


def routes(hub: Hub, encoded: MessageBytes) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["channels"])

    @kept_if_short  # for all who watch
    def event(message: Message) -> bytes:
        return b"event: message\nid: %d\ndata: %b\n\n" % (message.id, encoded.one(message))

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
        since = integer(request, "last_event_id", in_header="last-event-id")
        if since is None:
            since = await hub.chat.last_id(target)
        return EventStream(hub.bus, MessageFeed(hub, event, target, since))

    return router
