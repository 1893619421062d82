"""Event streams: their form, and that nothing is missed or sent twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.hub import Hub
from app.models import Dispatch, DispatchStatus, Origin, Outcome
from app.storage import dispatches, leases, messages
from app.ui.live import ChannelFeed, DispatchesFeed, DispatchFeed, event, stream
from app.ui.render import Renderer

pytestmark = pytest.mark.anyio
WAIT_SEC = 10


class Reader:
    """A browser's side of a stream: its events as (name, id, data)."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream

    async def next(self) -> tuple[str, str, str]:
        async with asyncio.timeout(WAIT_SEC):
            while True:
                fields: dict[str, list[str]] = {}
                for line in (await anext(self._stream)).decode().splitlines():
                    name, _, value = line.partition(": ")
                    fields.setdefault(name, []).append(value)
                if "event" in fields:
                    data = "\n".join(fields["data"])
                    return fields["event"][0], fields.get("id", [""])[0], data

    async def ids(self, count: int) -> list[str]:
        return [(await self.next())[1] for _ in range(count)]

    async def ends(self) -> bool:
        async with asyncio.timeout(WAIT_SEC):
            return await anext(self._stream, None) is None


async def reader_of_channel(hub: Hub, after: int, name: str = "proj-x") -> Reader:
    reader = Reader(stream(hub, ChannelFeed(hub, Renderer(), name, after)))
    kind, _, data = await reader.next()
    assert kind == "replace"
    assert 'id="channels"' in data
    return reader


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
    feed = ChannelFeed(quiet_hub, Renderer(), "proj-x", 0)

    assert await anext(stream(quiet_hub, feed)) == b"retry: 1000\n\n"


async def test_what_came_after_the_last_seen_message_is_sent_in_order(quiet_hub: Hub) -> None:
    ids = [await say(quiet_hub, f"text {number}") for number in range(5)]
    reader = await reader_of_channel(quiet_hub, after=int(ids[1]))

    assert await reader.ids(3) == ids[2:]


async def test_a_catch_up_is_longer_than_one_page(quiet_hub: Hub) -> None:
    ids = await asyncio.gather(*(say(quiet_hub, "text") for _ in range(230)))
    reader = await reader_of_channel(quiet_hub, after=0)

    assert await reader.ids(230) == sorted(ids, key=int)


async def test_a_message_comes_as_the_html_of_the_page(quiet_hub: Hub) -> None:
    reader = await reader_of_channel(quiet_hub, after=0)
    message_id = await say(quiet_hub, "**bold**\n\n```\ncode\n```")

    kind, event_id, data = await reader.next()

    assert (kind, event_id) == ("message", message_id)
    message = await quiet_hub.database.read(messages.get, int(message_id))
    assert message
    assert data.rstrip() == (await Renderer().message(message)).rstrip()
    assert "<strong>bold</strong>" in data


async def test_messages_of_other_channels_stay_out_but_their_channels_appear(quiet_hub: Hub) -> None:
    reader = await reader_of_channel(quiet_hub, after=0)
    await say(quiet_hub, "elsewhere", target="a <new> channel")

    kind, _, data = await reader.next()
    assert kind == "replace"
    assert "a &lt;new&gt; channel" in data

    message_id = await say(quiet_hub, "here")
    assert await reader.ids(1) == [message_id]


async def test_a_list_of_dispatches_tells_only_what_has_changed(quiet_hub: Hub) -> None:
    first = await accept(quiet_hub)
    second = await accept(quiet_hub)
    reader = Reader(stream(quiet_hub, DispatchesFeed(quiet_hub, Renderer())))
    for dispatch in (first, second):
        assert f'id="d-{dispatch.id}"' in (await reader.next())[2]

    await finish(quiet_hub)

    _, _, data = await reader.next()
    assert f'id="d-{first.id}"' in data
    assert "succeeded" in data


async def test_a_dispatch_is_sent_again_when_it_has_ended(quiet_hub: Hub) -> None:
    dispatch = await accept(quiet_hub)
    reader = Reader(stream(quiet_hub, DispatchFeed(quiet_hub, Renderer(), dispatch.id)))
    assert "queued" in (await reader.next())[2]

    await finish(quiet_hub)

    data = (await reader.next())[2]
    while "succeeded" not in data:
        data = (await reader.next())[2]
    assert "<strong>done</strong>" in data


async def test_a_stream_ends_quietly_when_the_hub_stops(quiet_hub: Hub) -> None:
    reader = await reader_of_channel(quiet_hub, after=0)

    quiet_hub.bus.close()

    assert await reader.ends()
