"""Tails: what readers near the end of a channel get is what the database has."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app import tail
from app.bus import Bus
from app.models import Message
from app.storage import messages
from app.storage.database import Database
from app.tail import Tails

pytestmark = pytest.mark.anyio


class Counted(Database):
    """Counts its queries."""

    queries = 0

    async def read(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self.queries += 1
        return await super().read(query, *args, **kwargs)


@pytest.fixture
async def bus() -> Bus:
    return Bus()


@pytest.fixture
async def database(tmp_path: Path, bus: Bus) -> AsyncIterator[Counted]:
    database = Counted(f"sqlite:///{tmp_path / 'hub.db'}", "test", bus.publish)
    await database.open()
    yield database
    await database.close()


async def post(database: Database, text: str = "text", target: str = "proj-x", sender: str = "claude") -> Message:
    return await database.write(messages.append, target=target, sender=sender, text=text, source="mcp")


async def test_a_read_that_follows_a_post_sees_it(database: Counted, bus: Bus) -> None:
    tails = Tails(database, bus)
    for number in range(20):
        posted = await post(database, str(number))
        assert await tails.of("proj-x").newest(1, None, None) == [posted]
        assert await tails.of(None).last_id() == posted.id


async def test_a_channel_that_has_no_news_costs_no_query(database: Counted, bus: Bus) -> None:
    tails = Tails(database, bus)
    posted = [await post(database) for _ in range(3)]
    assert await tails.of("proj-x").after(0, 10) == posted
    await post(database, target="elsewhere")
    before = database.queries
    assert await tails.of("proj-x").after(posted[0].id, 10) == posted[1:]
    assert await tails.of("proj-x").newest(2, None, None) == posted[1:]
    assert database.queries == before


async def test_many_readers_of_one_message_share_a_query(database: Counted, bus: Bus) -> None:
    tails = Tails(database, bus)
    first = await post(database)
    await tails.of("proj-x").after(0, 10)
    posted = await post(database)
    before = database.queries
    found = await asyncio.gather(*(tails.of("proj-x").after(first.id, 10) for _ in range(100)))
    assert found == [[posted]] * 100
    assert database.queries == before + 1


async def test_what_lies_too_far_back_is_left_to_the_database(
    database: Counted, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST_MESSAGES", 10)
    tails = Tails(database, bus)
    posted = [await post(database) for _ in range(30)]
    of = tails.of("proj-x")
    assert await of.newest(10, None, None) == posted[-10:]
    assert await of.newest(11, None, None) is None
    assert await of.after(posted[18].id, 50) is None
    assert await of.after(posted[19].id, 50) == posted[20:]
    posted += [await post(database) for _ in range(5)]
    assert await of.newest(3, None, None) == posted[-3:]
    assert await of.after(posted[-3].id, 50) == posted[-2:]
    assert await of.newest(2, posted[-1].id, None) == posted[-3:-1]


async def test_long_texts_are_kept_only_to_a_bound(
    database: Counted, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST_CHARS", 100)
    tails = Tails(database, bus)
    posted = [await post(database, "x" * 60) for _ in range(5)]
    assert await tails.of("proj-x").newest(1, None, None) == posted[-1:]
    assert await tails.of("proj-x").newest(2, None, None) is None
    assert await tails.of("proj-x").after(posted[-2].id, 5) == posted[-1:]


async def test_messages_of_one_sender_are_found(database: Counted, bus: Bus) -> None:
    tails = Tails(database, bus)
    posted = [await post(database, sender=name) for name in ("claude", "codex", "claude", "codex")]
    of = tails.of("proj-x")
    assert await of.after(0, 10, "codex") == [posted[1], posted[3]]
    assert await of.newest(1, None, "claude") == [posted[2]]
    assert await of.newest(9, posted[3].id, "codex") == [posted[1]]


async def test_only_the_tails_read_last_are_kept(database: Counted, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MOST_TAILS", 2)
    tails = Tails(database, bus)
    first = tails.of("a")
    tails.of("b")
    assert tails.of("a") is first
    tails.of("c")
    assert tails.of("a") is first
    posted = await post(database, target="b")
    assert await tails.of("b").newest(1, None, None) == [posted]


async def test_a_query_that_fails_is_tried_again_by_the_next_reader(
    database: Counted, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    tails = Tails(database, bus)
    posted = await post(database)
    working = database.read

    async def broken(*_: Any, **__: Any) -> Any:
        raise ConnectionError("gone")

    monkeypatch.setattr(database, "read", broken)
    with pytest.raises(ConnectionError):
        await tails.of("proj-x").newest(1, None, None)
    monkeypatch.setattr(database, "read", working)
    assert await tails.of("proj-x").newest(1, None, None) == [posted]
