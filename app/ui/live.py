"""Event streams that keep pages current. They carry the very fragments that the pages are made of."""

from collections.abc import AsyncIterator
from functools import lru_cache

from fastapi import APIRouter, Request

from app.bus import SharedLook
from app.hub import Hub
from app.models import Channel, Message, Topic
from app.sse import EventStream, Feed, event
from app.storage import dispatches
from app.ui.addresses import channel_name, cursor
from app.ui.render import Renderer

BATCH = 100
RECENT_DISPATCHES = 50
"""As many as stand on a page."""
STOPPING = event("stopping", "1")
"""The last a page hears of a hub that stops; it says so and waits for the next one."""
KEPT_EVENTS = 500
KEPT_CHARS = 16_000


class LiveChannels:
    """What all readers of channels share: the list with its counts, and messages as events."""

    def __init__(self, hub: Hub, renderer: Renderer) -> None:
        self._hub = hub
        self._renderer = renderer
        self._shared = SharedLook(hub.bus, Topic.COUNTS, self._look, trusts_hints=True)
        self._kept = lru_cache(KEPT_EVENTS)(event)
        self._rows: list[Channel] = []
        self._version = 0

    async def _look(self) -> None:
        self._rows = await self._hub.chat.channels()
        self._version += 1

    async def version(self) -> int:
        """A number that grows whenever the list is read again."""
        await self._shared.fresh()
        return self._version

    async def list(self, current: str) -> bytes:
        """The list of channels, at most a second old, as an event."""
        return event("replace", await self._renderer.channels(self._rows, current, self._version))

    async def message(self, message: Message) -> bytes:
        """A message as an event, encoded once for all who read it."""
        html = await self._renderer.message(message)
        return (self._kept if len(html) <= KEPT_CHARS else event)("message", html, message.id)


class ChannelFeed:
    """The messages of a channel after an id, and the list of channels."""

    def __init__(self, hub: Hub, renderer: Renderer, shared: LiveChannels, name: str, after: int) -> None:
        self.topics = (Topic.channel(name), Topic.COUNTS)
        self._hub = hub
        self._renderer = renderer
        self._shared = shared
        self._name = name
        self._after = after
        self._version = 0

    async def news(self) -> AsyncIterator[bytes]:
        is_more = True
        while is_more and (found := await self._hub.chat.after(self._name, self._after, BATCH)):
            self._after = found[-1].id
            is_more = len(found) == BATCH
            yield b"".join([await self._shared.message(message) for message in found])
        version = await self._shared.version()
        if version != self._version:
            self._version = version
            yield await self._shared.list(self._name)


class DispatchesFeed:
    """The newest dispatches, each again whenever it has changed."""

    topics = (Topic.DISPATCHES,)

    def __init__(self, hub: Hub, renderer: Renderer) -> None:
        self._hub = hub
        self._renderer = renderer
        self._seen: dict[str, str] = {}

    async def news(self) -> AsyncIterator[bytes]:
        recent = await self._hub.database.read(dispatches.page, RECENT_DISPATCHES)
        rows = {dispatch.id: await self._renderer.dispatch(dispatch) for dispatch in reversed(recent)}
        for dispatch_id, row in rows.items():
            if self._seen.get(dispatch_id) != row:
                yield event("replace", row)
        self._seen = dict(rows)


class DispatchFeed:
    """One dispatch, again whenever it has changed."""

    def __init__(self, hub: Hub, renderer: Renderer, dispatch_id: str) -> None:
        self.topics = (Topic.dispatch(dispatch_id),)
        self._hub = hub
        self._renderer = renderer
        self._dispatch_id = dispatch_id
        self._seen = ""

    async def news(self) -> AsyncIterator[bytes]:
        standing = await self._hub.dispatches.standing(self._dispatch_id)
        history = await self._hub.database.read(dispatches.history, self._dispatch_id)
        detail = await self._renderer.dispatch_detail(standing, history)
        if detail != self._seen:
            self._seen = detail
            yield event("replace", detail)


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(prefix="/live", include_in_schema=False)

    shared = LiveChannels(hub, renderer)

    def answer(feed: Feed) -> EventStream:
        return EventStream(hub.bus, feed, last=STOPPING)

    @router.get("/channels/{name:path}")
    async def channel(request: Request, name: str) -> EventStream:
        name = channel_name(name)
        seen = request.headers.get("last-event-id") or request.query_params.get("after")
        after = cursor("after", seen)
        if after is None:
            after = await hub.chat.last_id(name)
        return answer(ChannelFeed(hub, renderer, shared, name, after))

    @router.get("/dispatches")
    async def all_dispatches() -> EventStream:
        return answer(DispatchesFeed(hub, renderer))

    @router.get("/dispatches/{dispatch_id}")
    async def one_dispatch(dispatch_id: str) -> EventStream:
        await hub.dispatches.get(dispatch_id)
        return answer(DispatchFeed(hub, renderer, dispatch_id))

    return router
