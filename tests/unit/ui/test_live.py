"""Event streams: their form, and that nothing is missed or sent twice."""

import asyncio
from typing import Any

import pytest

from app.hub import Hub
from app.models import Dispatch, DispatchStatus, Origin, Outcome
from app.sse import EventStream, Feed, event
from app.storage import dispatches, leases, messages
from app.ui.live import ChannelFeed, DispatchesFeed, DispatchFeed, LiveChannels
from app.ui.render import Renderer

pytestmark = pytest.mark.anyio
WAIT_SEC = 10


class Reader:
    """A browser's side of a stream: its events as (name, id, data)."""

    def __init__(self, hub: Hub, feed: Feed) -> None:
        self._bodies: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events: list[str] = []
        self._rest = ""
        self.left = asyncio.Event()
        self.stream = asyncio.create_task(EventStream(hub.bus, feed)({"type": "http"}, self._receive, self._bodies.put))

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


def reader_of_channel(hub: Hub, after: int, name: str = "proj-x") -> Reader:
    renderer = Renderer()
    return Reader(hub, ChannelFeed(hub, renderer, LiveChannels(hub, renderer), name, after))


async def say(hub: Hub, text: str, target: str = "proj-x") -> str:
    return str((await hub.chat.post(target=target, sender="claude", text=text, source="mcp")).id)


async def accept(hub: Hub) -> Dispatch:
    dispatch = Dispatch(
        origin=Origin.ASYNC,
        home="home",
        project_id="/project",
        thread_id="thread",
        thread_name="the thread",
        resolution="thread_id",
        message="do it",
    )
    return await hub.database.write(dispatches.add, dispatch)


async def finish(hub: Hub) -> None:
    taken = await hub.database.write(leases.claim, "home", "owner", 60)
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


async def test_a_dispatch_is_sent_again_when_it_has_ended(quiet_hub: Hub) -> None:
    dispatch = await accept(quiet_hub)
    reader = Reader(quiet_hub, DispatchFeed(quiet_hub, Renderer(), dispatch.id))
    assert "queued" in (await reader.next())[2]

    await finish(quiet_hub)

    data = (await reader.next())[2]
    while "<strong>done</strong>" not in data:
        data = (await reader.next())[2]
    assert "succeeded" in data


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
