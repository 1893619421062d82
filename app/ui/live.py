"""Event streams that keep pages current. They carry the very fragments that the pages are made of."""

from collections.abc import AsyncIterator
from functools import lru_cache

from fastapi import APIRouter, Request

from app.bus import SharedLook
from app.dispatch.approvals import PENDING
from app.hub import Hub
from app.models import Channel, Message, Pause, Topic
from app.sse import EventStream, Feed, event
from app.storage import dispatches
from app.storage.messages import is_full
from app.ui.addresses import channel_name, cursor
from app.ui.approvals import listed
from app.ui.filter import RECENT_DISPATCHES, Filter, chosen
from app.ui.render import Renderer
from app.ui.story import stamp, story

BATCH = 100
ALIVE = event("alive", "1")
"""A page that hears nothing for long gives its connection up."""
STOPPING = event("stopping", "1")
"""The last a page hears of a hub that stops; it says so and waits for the next one."""
KEPT_EVENTS = 500
KEPT_CHARS = 16_000
EVERYTHING = Filter()


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
            is_more = is_full(found, BATCH)
            yield b"".join([await self._shared.message(message) for message in found])
        version = await self._shared.version()
        if version != self._version:
            self._version = version
            yield await self._shared.list(self._name)


class DispatchesFeed:
    """The newest dispatches that fit a filter, each again whenever it has changed."""

    topics = (Topic.DISPATCHES,)

    def __init__(self, hub: Hub, renderer: Renderer, wanted: Filter = EVERYTHING) -> None:
        self._hub = hub
        self._renderer = renderer
        self._wanted = wanted
        self._seen: dict[str, str] = {}
        self._going_on: set[str] = set()
        self._pauses: list[Pause] = []

    async def news(self) -> AsyncIterator[bytes]:
        recent = await self._hub.database.read(dispatches.page, RECENT_DISPATCHES, **self._wanted.conditions)
        # One that fits no longer stays where the reader sees it, and tells how it goes on.
        left = self._going_on - {dispatch.id for dispatch in recent}
        others = [await self._hub.database.read(dispatches.get, dispatch_id) for dispatch_id in left]
        shown = [*filter(None, others), *reversed(recent)]
        pauses = await self._hub.dispatches.pauses()
        if pauses != self._pauses:
            self._pauses = pauses
            yield event("replace", self._renderer.render("dispatches/_pauses.html", pauses=pauses))
        before, self._seen = self._seen, {}
        for dispatch in shown:
            row = self._seen[dispatch.id] = await self._renderer.dispatch(dispatch)
            if before.get(dispatch.id) != row:
                yield event("replace", row)
        self._going_on = {dispatch.id for dispatch in shown[-2 * RECENT_DISPATCHES :] if dispatch.finished_at is None}


class DispatchFeed:
    """One dispatch: the parts of its page and the steps of its turn, each again whenever it has changed."""

    def __init__(self, hub: Hub, renderer: Renderer, dispatch_id: str, after: int = 0) -> None:
        """`after` is the stamp of what the reader has seen already."""
        self.topics = (Topic.dispatch(dispatch_id),)
        self._hub = hub
        self._renderer = renderer
        self._dispatch_id = dispatch_id
        self._after = after
        self._parts: dict[str, str] = {}
        self._steps: dict[str, tuple[float, bool]] = {}

    async def news(self) -> AsyncIterator[bytes]:
        told = await story(self._hub, self._dispatch_id)
        fresh = []
        for item in told.items:
            step = item.updated_at, item is told.reply_item
            known = self._steps.get(item.item_id, (item.updated_at, False) if self._has(item.updated_at) else None)
            self._steps[item.item_id] = step
            if step != known:
                fresh.append(await self._renderer.step(item, is_reply=step[1]))
        parts = await self._renderer.parts(told)
        if not self._parts and self._has(told.dispatch.updated_at):
            # These may be large, and only the dispatch itself changes them.
            self._parts = {name: parts[name] for name in ("result", "changes")}
        fresh += [part for name, part in parts.items() if part != self._parts.get(name)]
        self._parts = dict(parts)
        # A reader who is cut off between two of them comes back with the stamp before.
        for number, html in enumerate(fresh, 1):
            yield event("replace", html, told.stamp if number == len(fresh) else None)

    def _has(self, changed_at: float) -> bool:
        return stamp(changed_at) <= self._after


class ApprovalsFeed:
    """What Codex asks and has asked, each question again whenever it has changed."""

    topics = (Topic.APPROVALS,)

    def __init__(self, hub: Hub, renderer: Renderer) -> None:
        self._hub = hub
        self._renderer = renderer
        self._seen: dict[str, str] = {}

    async def news(self) -> AsyncIterator[bytes]:
        before, self._seen = self._seen, {}
        for shown in await listed(self._hub):
            row = self._seen[shown.approval.id] = await self._renderer.approval(shown)
            if before.get(shown.approval.id) != row:
                yield event("replace", row)


class NoFeed:
    """For pages that are what they are."""

    topics = ()

    async def news(self) -> AsyncIterator[bytes]:
        for news in list[bytes]():
            yield news


class WithPending:
    """A feed that also tells how many questions wait, as every page shows it."""

    def __init__(self, hub: Hub, feed: Feed) -> None:
        self.topics = (*feed.topics, PENDING)
        self._approvals = hub.dispatches.approvals
        self._feed = feed
        self._told: int | None = None

    async def news(self) -> AsyncIterator[bytes]:
        async for news in self._feed.news():
            yield news
        if self._told != self._approvals.pending:
            self._told = self._approvals.pending
            yield event("pending", str(self._told))


def seen(request: Request) -> int | None:
    """The last event that the reader has, of this stream or of the page that opens it."""
    return cursor("after", request.headers.get("last-event-id") or request.query_params.get("after"))


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(prefix="/live", include_in_schema=False)

    shared = LiveChannels(hub, renderer)

    def answer(feed: Feed) -> EventStream:
        return EventStream(hub.bus, WithPending(hub, feed), alive=ALIVE, last=STOPPING)

    @router.get("/channels/{name:path}")
    async def channel(request: Request, name: str) -> EventStream:
        name = channel_name(name)
        after = seen(request)
        if after is None:
            after = await hub.chat.last_id(name)
        return answer(ChannelFeed(hub, renderer, shared, name, after))

    @router.get("/dispatches")
    async def all_dispatches(request: Request) -> EventStream:
        return answer(DispatchesFeed(hub, renderer, chosen(request.query_params)))

    @router.get("/dispatches/{dispatch_id}")
    async def one_dispatch(request: Request, dispatch_id: str) -> EventStream:
        await hub.dispatches.standing(dispatch_id)
        return answer(DispatchFeed(hub, renderer, dispatch_id, seen(request) or 0))

    @router.get("/approvals")
    async def all_approvals() -> EventStream:
        return answer(ApprovalsFeed(hub, renderer))

    @router.get("/pending")
    async def pending() -> EventStream:
        return answer(NoFeed())

    return router
