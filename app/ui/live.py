"""Event streams that keep pages current. They carry the very fragments that the pages are made of.

A stream listens first, asks the database second and waits third, so it misses nothing; and a reader that comes back
with the last id it saw gets what it missed in the same way. Nothing here outlives its connection.
"""

import re
from collections.abc import AsyncIterator
from typing import Protocol

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from app.bus import BusClosed
from app.hub import Hub
from app.models import Topic
from app.storage import dispatches, messages
from app.ui.addresses import channel_name, cursor
from app.ui.render import Renderer

RETRY_MS = 1000
LOOK_AGAIN_SEC = 15.0
"""A hint may be lost, so a stream looks by itself as well, and shows that it lives."""
BATCH = 100
RECENT_DISPATCHES = 50
"""As many as stand on a page."""

_LINE_END = re.compile(r"\r\n|\r|\n")


def event(name: str, data: str, event_id: int | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" + ("" if event_id is None else f"id: {event_id}\n")
    return (head + "".join(f"data: {line}\n" for line in _LINE_END.split(data)) + "\n").encode()


class Feed(Protocol):
    """What one reader sees; it knows what that reader has been sent."""

    @property
    def topics(self) -> tuple[str, ...]:
        """What to listen to."""
        ...

    def news(self) -> AsyncIterator[bytes]:
        """The events since it was asked last."""
        ...


class ChannelFeed:
    """The messages of a channel after an id, and the list of channels."""

    def __init__(self, hub: Hub, renderer: Renderer, name: str, after: int) -> None:
        self.topics = (Topic.channel(name), Topic.CHANNELS)
        self._hub = hub
        self._renderer = renderer
        self._name = name
        self._after = after
        self._channels: list[str] | None = None

    async def news(self) -> AsyncIterator[bytes]:
        channels = await self._hub.chat.channels()
        if channels != self._channels:
            self._channels = channels
            html = self._renderer.render("channels/_channels.html", channels=channels, channel=self._name)
            yield event("replace", html)
        while found := await self._hub.database.read(messages.after, self._name, self._after, BATCH):
            for message in found:
                yield event("message", await self._renderer.message(message), message.id)
                self._after = message.id or self._after


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


async def stream(hub: Hub, feed: Feed) -> AsyncIterator[bytes]:
    """The bytes of a feed, until the hub stops or the reader leaves."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    with hub.bus.subscribe(*feed.topics) as hints:
        while True:
            async for news in feed.news():
                yield news
            try:
                if not await hints.wait(LOOK_AGAIN_SEC):
                    yield b": still here\n\n"
            except BusClosed:
                return


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(prefix="/live", include_in_schema=False)

    def answer(feed: Feed) -> StreamingResponse:
        # Proxies that gather an answer before they pass it on would silence a stream.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(stream(hub, feed), media_type="text/event-stream", headers=headers)

    @router.get("/channels/{name:path}")
    async def channel(request: Request, name: str) -> StreamingResponse:
        name = channel_name(name)
        seen = request.headers.get("last-event-id") or request.query_params.get("after")
        after = cursor("after", seen)
        if after is None:
            newest = await hub.database.read(messages.newest, name, 1)
            after = newest[-1].id if newest else 0
        return answer(ChannelFeed(hub, renderer, name, after or 0))

    @router.get("/dispatches")
    async def all_dispatches() -> StreamingResponse:
        return answer(DispatchesFeed(hub, renderer))

    @router.get("/dispatches/{dispatch_id}")
    async def one_dispatch(dispatch_id: str) -> StreamingResponse:
        await hub.dispatches.get(dispatch_id)
        return answer(DispatchFeed(hub, renderer, dispatch_id))

    return router
