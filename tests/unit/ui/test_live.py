"""Event streams: their form, and that nothing is missed or sent twice."""

import asyncio
from typing import Any

import pytest

from app.hub import Hub
from app.models import LOCAL, Dispatch, DispatchStatus, Lease, Origin, Outcome, TurnItem
from app.security.limits import Streams
from app.sse import EventStream, Feed, event
from app.storage import claims, dispatches, leases, messages
from app.ui.filter import Filter
from app.ui.live import ChannelFeed, DispatchesFeed, DispatchFeed, LiveChannels
from app.ui.render import Renderer
from app.ui.story import story

pytestmark = pytest.mark.anyio
WAIT_SEC = 10


class Reader:
    """A browser's side of a stream: its events as (name, id, data)."""

    def __init__(self, hub: Hub, feed: Feed) -> None:
        self._bodies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events: list[str] = []
        self._rest = ""
        self.left = asyncio.Event()
        scope = {"type": "http", "streams": Streams(1)}
        self.stream = asyncio.create_task(EventStream(hub.bus, feed)(scope, self._receive, self._bodies.put))

    async def _receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def next(self) -> tuple[str, str, str]:
        async with asyncio.timeout(WAIT_SEC):
            while True:
                while not self._events:
                    *self._events, self._rest = (self._rest + await self._body()).split("\n\n")
                fields: dict[str, list[str]] = {}
                for line in self._events.pop(0).splitlines():
                    name, _, value = line.partition(": ")
                    fields.setdefault(name, []).append(value)
                if "event" in fields:
                    data = "\n".join(fields["data"])
                    return fields["event"][0], fields.get("id", [""])[0], data

    async def _body(self) -> str:
        message = await self._bodies.get()
        return str(message.get("body", b"").decode())

    async def messages(self, count: int) -> list[tuple[str, str]]:
        """The next messages as (id, data), whatever comes between them."""
        found: list[tuple[str, str]] = []
        while len(found) < count:
            kind, event_id, data = await self.next()
            found += [(event_id, data)] if kind == "message" else []
        return found

    async def ids(self, count: int) -> list[str]:
        return [event_id for event_id, _ in await self.messages(count)]

    async def channels(self, text: str) -> str:
        """The list of channels once it holds a text."""
        while True:
            kind, _, data = await self.next()
            if kind == "replace" and text in data:
                assert 'id="channels"' in data
                return data

    async def part(self, name: str, text: str = "") -> str:
        """The next version of a part of a dispatch's page that holds a text."""
        return await self._replacement(f'id="{name}"', text)

    async def step(self) -> str:
        """The next step of a turn."""
        return await self._replacement('data-in="items"', "")

    async def _replacement(self, mark: str, text: str) -> str:
        while True:
            _, _, data = await self.next()
            if mark in data and text in data:
                return data


class CountingRenderer(Renderer):
    """Notes which templates are really rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def render(self, template: str, **values: Any) -> str:
        self.made.append(template)
        return super().render(template, **values)


def reader_of_channel(hub: Hub, after: int, name: str = "proj-x") -> Reader:
    renderer = Renderer()
    return Reader(hub, ChannelFeed(hub, renderer, LiveChannels(hub, renderer), name, after))


async def say(hub: Hub, text: str, target: str = "proj-x") -> str:
    return str((await hub.chat.post(target=target, sender="claude", text=text, source="mcp", principal=LOCAL)).id)


async def accept(hub: Hub, project_id: str = "/project") -> Dispatch:
    dispatch = Dispatch(
        origin=Origin.ASYNC,
        home="home",
        project_id=project_id,
        thread_id="thread",
        thread_name="the thread",
        resolution="thread_id",
        message="do it",
    )
    return await hub.database.write(dispatches.add, dispatch)


async def finish(hub: Hub) -> None:
    taken = await hub.database.write(claims.claim, "home", "owner", 60)
    assert taken
    outcome = Outcome(DispatchStatus.SUCCEEDED, reply_text="**done**")
    await hub.database.write(leases.finish, taken[1], outcome)


def test_every_line_of_the_data_is_a_field_of_its_own() -> None:
    assert event("message", "a\nb\r\nc\rd", 7) == b"event: message\nid: 7\ndata: a\ndata: b\ndata: c\ndata: d\n\n"


def test_a_line_separator_that_the_format_does_not_know_stays_in_the_data() -> None:
    assert event("replace", "a\u2028b\x0bc") == "event: replace\ndata: a\u2028b\x0bc\n\n".encode()


async def test_a_stream_begins_with_how_soon_to_come_back(quiet_hub: Hub) -> None:
    reader = reader_of_channel(quiet_hub, after=0)

    await reader._body()  # the headers
    assert await reader._body() == "retry: 1000\n\n"


async def test_what_came_after_the_last_seen_message_is_sent_in_order(quiet_hub: Hub) -> None:
    ids = [await say(quiet_hub, f"text {number}") for number in range(5)]
    reader = reader_of_channel(quiet_hub, after=int(ids[1]))

    assert await reader.ids(3) == ids[2:]


async def test_a_catch_up_is_longer_than_one_page(quiet_hub: Hub) -> None:
    ids = await asyncio.gather(*(say(quiet_hub, "text") for _ in range(230)))
    reader = reader_of_channel(quiet_hub, after=0)

    assert await reader.ids(230) == sorted(ids, key=int)


async def test_a_message_comes_as_the_html_of_the_page(quiet_hub: Hub) -> None:
    reader = reader_of_channel(quiet_hub, after=0)
    message_id = await say(quiet_hub, "**bold**\n\n```\ncode\n```")

    ((event_id, data),) = await reader.messages(1)

    assert event_id == message_id
    message = await quiet_hub.database.read(messages.get, int(message_id))
    assert message
    assert data.rstrip() == (await Renderer().message(message)).rstrip()
    assert "<strong>bold</strong>" in data


async def test_messages_of_other_channels_stay_out_but_their_channels_appear(quiet_hub: Hub) -> None:
    reader = reader_of_channel(quiet_hub, after=0)
    await say(quiet_hub, "elsewhere", target="a <new> channel")

    await reader.channels("a &lt;new&gt; channel")

    message_id = await say(quiet_hub, "here")
    assert await reader.ids(1) == [message_id]


async def test_a_list_of_dispatches_tells_only_what_has_changed(quiet_hub: Hub) -> None:
    first = await accept(quiet_hub)
    second = await accept(quiet_hub)
    reader = Reader(quiet_hub, DispatchesFeed(quiet_hub, Renderer()))
    for dispatch in (first, second):
        assert f'id="d-{dispatch.id}"' in (await reader.next())[2]

    await finish(quiet_hub)

    _, _, data = await reader.next()
    while "succeeded" not in data:
        assert f'id="d-{first.id}"' in data
        _, _, data = await reader.next()
    assert f'id="d-{first.id}"' in data


async def test_a_list_tells_what_became_of_a_dispatch_that_fits_its_filter_no_longer(quiet_hub: Hub) -> None:
    dispatch = await accept(quiet_hub)
    reader = Reader(quiet_hub, DispatchesFeed(quiet_hub, Renderer(), Filter("queued")))
    assert "queued" in (await reader.next())[2]

    await finish(quiet_hub)

    _, _, data = await reader.next()
    while "succeeded" not in data:
        _, _, data = await reader.next()
    assert f'id="d-{dispatch.id}"' in data
    later = await accept(quiet_hub)
    assert f'id="d-{later.id}"' in (await reader.next())[2]


async def test_a_list_tells_nothing_of_what_does_not_fit_its_filter(quiet_hub: Hub) -> None:
    await accept(quiet_hub)
    reader = Reader(quiet_hub, DispatchesFeed(quiet_hub, Renderer(), Filter(project="/other")))

    wanted = await accept(quiet_hub, project_id="/other")

    assert f'id="d-{wanted.id}"' in (await reader.next())[2]


async def test_the_parts_of_a_dispatch_are_sent_again_when_it_has_ended(quiet_hub: Hub) -> None:
    dispatch = await accept(quiet_hub)
    reader = Reader(quiet_hub, DispatchFeed(quiet_hub, Renderer(), dispatch.id))
    assert "queued" in await reader.part("head")

    await finish(quiet_hub)

    assert "succeeded" in await reader.part("head", "succeeded")
    assert "<strong>done</strong>" in await reader.part("result")


class Turn:
    """A dispatch that runs, and says what the test wants it to."""

    def __init__(self, hub: Hub, dispatch: Dispatch, lease: Lease) -> None:
        self._hub = hub
        self._lease = lease
        self.dispatch = dispatch

    @classmethod
    async def begin(cls, hub: Hub) -> "Turn":
        await accept(hub)
        taken = await hub.database.write(claims.claim, "home", "owner", 60)
        assert taken
        return cls(hub, *taken)

    async def say(self, *positions: int, text: str = "text") -> None:
        items = [
            TurnItem(
                dispatch_id=self.dispatch.id,
                item_id=f"item {position}",
                position=position,
                kind="message",
                text=f"{text} {position}",
                status="inProgress",
            )
            for position in positions
        ]
        await self._hub.database.write(leases.record_progress, self._lease, items, {})

    async def end(self, reply: str) -> None:
        await self._hub.database.write(leases.finish, self._lease, Outcome(DispatchStatus.SUCCEEDED, reply_text=reply))


async def test_only_the_step_that_has_changed_is_made_and_sent_again(quiet_hub: Hub) -> None:
    renderer = CountingRenderer()
    turn = await Turn.begin(quiet_hub)
    await turn.say(*range(200))
    reader = Reader(quiet_hub, DispatchFeed(quiet_hub, renderer, turn.dispatch.id))
    assert [f"text {number}" in await reader.step() for number in range(200)] == [True] * 200
    await reader.part("history")
    renderer.made.clear()

    await turn.say(7, text="more")

    assert "more 7" in await reader.step()
    assert renderer.made.count("dispatches/_step.html") == 1


async def test_a_reader_who_comes_back_gets_what_has_changed_since(quiet_hub: Hub) -> None:
    renderer = Renderer()
    turn = await Turn.begin(quiet_hub)
    await turn.say(0, 1)
    seen = (await story(quiet_hub, turn.dispatch.id)).stamp
    await turn.say(1, text="more")

    reader = Reader(quiet_hub, DispatchFeed(quiet_hub, renderer, turn.dispatch.id, seen))

    assert "more 1" in await reader.step()
    _, event_id, data = await reader.next()
    while not event_id:
        assert 'data-in="items"' not in data
        _, event_id, data = await reader.next()
    assert int(event_id) == (await story(quiet_hub, turn.dispatch.id)).stamp > seen


async def test_the_last_message_gives_way_to_the_reply(quiet_hub: Hub) -> None:
    turn = await Turn.begin(quiet_hub)
    await turn.say(0, 1)
    seen = (await story(quiet_hub, turn.dispatch.id)).stamp
    reader = Reader(quiet_hub, DispatchFeed(quiet_hub, Renderer(), turn.dispatch.id, seen))
    await reader.part("head")

    await turn.end("text 1")

    step = await reader.step()
    assert 'id="item-item 1"' in step
    assert "hidden" in step
    assert "text 1" not in step
    assert "text 1" in await reader.part("result", "text 1")


async def test_a_stream_ends_quietly_when_the_hub_stops(quiet_hub: Hub) -> None:
    reader = reader_of_channel(quiet_hub, after=0)

    await reader.channels("proj-x")
    quiet_hub.bus.close()

    async with asyncio.timeout(WAIT_SEC):
        await reader.stream


async def test_a_stream_ends_when_its_reader_leaves(quiet_hub: Hub) -> None:
    reader = reader_of_channel(quiet_hub, after=0)
    await reader.channels("proj-x")

    reader.left.set()

    async with asyncio.timeout(WAIT_SEC):
        await reader.stream


async def test_the_list_of_channels_comes_again_when_counts_have_changed(quiet_hub: Hub) -> None:
    reader = reader_of_channel(quiet_hub, after=0)
    await say(quiet_hub, "elsewhere", target="other")
    await reader.channels('data-count="1"')
    await say(quiet_hub, "elsewhere", target="other")

    await reader.channels('data-count="2"')
