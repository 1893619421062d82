"""Messages: ids, order, cursors."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from app.errors import DatabaseUnavailable
from app.models import Message
from app.storage import messages
from app.storage.database import Database, Tx

pytestmark = pytest.mark.anyio


async def post(database: Database, target: str = "proj-x", text: str = "hi", **more: Any) -> Message:
    return await database.write(messages.append, target=target, sender="claude", text=text, source="mcp", **more)


async def test_ids_are_one_sequence_over_all_channels(database: Database) -> None:
    ids = [(await post(database, target)).id for target in ("a", "b", "a")]
    assert ids == [1, 2, 3]


async def test_a_message_is_stored_to_the_letter(database: Database) -> None:
    text = " \n⟪naïve⟫ 🦀\t'); DROP TABLE message;-- \n"
    posted = await post(database, text=text)
    assert await database.read(messages.get, posted.id) == posted
    assert posted.text == text


async def test_after_returns_the_oldest_first_and_pages_without_gap_or_repeat(database: Database) -> None:
    posted = [(await post(database)).id for _ in range(7)]
    await post(database, "elsewhere")
    seen: list[int] = []
    cursor = 0
    while page := await database.read(messages.after, "proj-x", cursor, 3):
        seen += [message.id for message in page]
        cursor = page[-1].id
    assert seen == posted


async def test_newest_returns_the_last_ones_oldest_first(database: Database) -> None:
    posted = [(await post(database)).id for _ in range(5)]
    assert [m.id for m in await database.read(messages.newest, "proj-x", 2)] == posted[-2:]
    assert [m.id for m in await database.read(messages.newest, "proj-x", 2, posted[3])] == posted[1:3]


@pytest.mark.parametrize("cursor", [-(10**30), -1, 10**30])
async def test_any_whole_number_is_a_cursor(database: Database, cursor: int) -> None:
    await post(database)
    found = await database.read(messages.after, "proj-x", cursor, 10)
    assert len(found) == (1 if cursor < 0 else 0)


async def test_channels_are_those_configured_and_those_posted_to(database: Database) -> None:
    await database.write(messages.ensure_channels, ["codex", "proj-x"])
    await database.write(messages.ensure_channels, ["codex"])
    await post(database, "new")
    await post(database, "new")
    found = {channel.name: channel.message_count for channel in await database.read(messages.channels)}
    assert found == {"codex": 0, "proj-x": 0, "new": 2}


async def test_senders_are_those_of_the_channel(database: Database) -> None:
    await post(database)
    await database.write(messages.append, target="other", sender="user", text="x", source="web-ui")
    assert await database.read(messages.senders, "proj-x") == ["claude"]


async def test_ids_are_never_reused_after_a_restart(url: str) -> None:
    ids = []
    for _ in range(3):
        database = Database(url, "hub")
        await database.open()
        ids.append((await post(database)).id)
        await database.close()
    assert ids == [1, 2, 3]


async def test_many_writers_lose_nothing(database: Database) -> None:
    await asyncio.gather(*(post(database, text=str(n)) for n in range(200)))
    found = await database.read(messages.newest, "proj-x", 500)
    assert sorted(int(message.text) for message in found) == list(range(200))
    (channel,) = await database.read(messages.channels)
    assert channel.message_count == 200


async def test_a_reader_that_follows_the_cursor_misses_nothing_while_two_hubs_write(
    database: Database, second: Database
) -> None:
    """Ids that are drawn before the commit would become visible out of order, and a cursor would step over some."""
    total = 300
    writing = asyncio.gather(
        *(post(hub, text=str(n)) for n, hub in zip(range(total), [database, second] * (total // 2), strict=True))
    )
    seen: list[int | None] = []
    async with asyncio.timeout(30):
        while len(seen) < total:
            cursor = seen[-1] if seen else 0
            seen += [message.id for message in await database.read(messages.after, "proj-x", cursor or 0, 50)]
            await asyncio.sleep(0)
            if writing.done() and not await database.read(messages.after, "proj-x", (seen or [0])[-1] or 0, 1):
                break
    await writing
    assert len(seen) == total


async def test_a_unit_that_fails_leaves_nothing_and_spoils_no_other(database: Database) -> None:
    def fails(tx: Tx) -> None:
        messages.append(tx, target="proj-x", sender="claude", text="never", source="mcp")
        raise ValueError("on purpose")

    results = await asyncio.gather(
        post(database, text="before"), database.write(fails), post(database, text="after"), return_exceptions=True
    )
    assert isinstance(results[1], ValueError)
    found = await database.read(messages.newest, "proj-x", 10)
    assert sorted(message.text for message in found) == ["after", "before"]


async def test_topics_are_published_after_the_commit_and_not_for_a_failure(url: str) -> None:
    published: list[str] = []
    database = Database(url, "hub", published.extend)
    await database.open()
    try:

        def fails(tx: Tx) -> None:
            tx.emit("channel:lost")
            raise ValueError("on purpose")

        with pytest.raises(ValueError, match="on purpose"):
            await database.write(fails)
        await post(database)
        await asyncio.sleep(0)
        assert published == ["channel:proj-x", "messages", "channels"]
        await post(database)
        await asyncio.sleep(0)
        assert published[3:] == ["channel:proj-x", "messages"]
    finally:
        await database.close()


async def test_a_hub_hears_of_what_another_one_wrote(url: str, second: Database) -> None:
    heard = asyncio.Event()
    listening = Database(url, "third", lambda topics: heard.set() if "channel:proj-x" in topics else None)
    await listening.open()
    try:
        async with asyncio.timeout(20):
            while not heard.is_set():
                # LISTEN takes effect some time after open; hints before that may be lost, later ones not.
                await post(second)
                await asyncio.wait([asyncio.ensure_future(heard.wait())], timeout=0.2)
    finally:
        await listening.close()


async def test_a_database_that_somebody_else_has_locked_is_an_error_and_then_works_again(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'hub.db'}", "hub")
    await database.open()
    await database.write(lambda tx: tx.connection.exec_driver_sql("PRAGMA busy_timeout=50") and None)
    stranger = sqlite3.connect(tmp_path / "hub.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        await post(database)
    stranger.close()
    assert (await post(database)).id == 1
    await database.close()


async def test_the_same_key_of_a_sender_posts_once(database: Database) -> None:
    first = await post(database, idempotency_key="k")
    with pytest.raises(messages.AlreadyPosted) as again:
        await post(database, idempotency_key="k")
    assert again.value.message == first
    await database.write(messages.append, target="proj-x", sender="codex", text="hi", source="mcp", idempotency_key="k")
    assert [m.sender for m in await database.read(messages.newest, "proj-x", 9)] == ["claude", "codex"]
    (channel,) = await database.read(messages.channels)
    assert channel.message_count == 2


async def test_a_key_that_many_use_at_once_makes_one_message(database: Database) -> None:
    results = await asyncio.gather(*(post(database, idempotency_key="k") for _ in range(20)), return_exceptions=True)
    posted = [result for result in results if isinstance(result, Message)]
    assert len(posted) == 1
    assert {result.message for result in results if isinstance(result, messages.AlreadyPosted)} == set(posted)


async def test_a_reader_is_settled_forwards_only_and_not_past_the_end(database: Database) -> None:
    posted = [(await post(database)).id for _ in range(3)]
    assert await database.read(messages.acked, "proj-x", "codex") == 0
    assert await database.write(messages.ack, "proj-x", "codex", posted[1]) == posted[1]
    assert await database.write(messages.ack, "proj-x", "codex", posted[0]) == posted[1]
    assert await database.write(messages.ack, "proj-x", "codex", 10**30) == posted[2]
    assert await database.write(messages.ack, "proj-x", "other", -(10**30)) == 0
    assert await database.read(messages.acked, "proj-x", "codex") == posted[2]
    assert await database.write(messages.ack, "nowhere", "codex", 1) is None


async def test_messages_can_be_read_by_sender_and_without_one_sender(database: Database) -> None:
    for sender in ("claude", "codex", "claude", "codex"):
        await database.write(messages.append, target="proj-x", sender=sender, text="x", source="mcp")
    assert [m.id for m in await database.read(messages.after, "proj-x", 0, 9, "codex")] == [2, 4]
    assert [m.id for m in await database.read(messages.newest, "proj-x", 1, None, "claude")] == [3]
    assert [m.id for m in await database.read(messages.after, "proj-x", 0, 9, not_sender="codex")] == [1, 3]


async def test_a_reader_of_all_channels_misses_nothing_while_two_hubs_write(
    database: Database, second: Database
) -> None:
    total = 300
    hubs = [database, second] * (total // 2)
    writing = asyncio.gather(*(post(hub, f"channel-{n % 7}") for n, hub in zip(range(total), hubs, strict=True)))
    seen: list[int] = []
    async with asyncio.timeout(60):
        while len(seen) < total:
            page = await database.read(messages.after, None, seen[-1] if seen else 0, 50)
            seen += [message.id for message in page]
            if writing.done() and not page:
                break
    await writing
    assert len(seen) == total


async def test_messages_that_arrive_together_are_stored_in_their_order_and_one_that_fails_spoils_no_other(
    database: Database,
) -> None:
    posts = [messages.Post(f"channel-{n % 3}", "claude", str(n), "mcp") for n in range(100)]
    posts[40] = messages.Post("proj-x", "claude", "a key", "mcp", idempotency_key="k")
    posts[41] = messages.Post("proj-x", "claude", "the same key", "mcp", idempotency_key="k")
    posts[42] = messages.Post("proj-x", "claude", "\0" if not database.is_sqlite else None, "mcp")  # type: ignore[arg-type]
    results = await asyncio.gather(
        *(database.write_each(messages.append_each, post) for post in posts), return_exceptions=True
    )
    failed = [number for number, result in enumerate(results) if isinstance(result, BaseException)]
    assert 42 in failed
    assert set(failed) in ({40, 42}, {41, 42})
    stored = [result for result in results if isinstance(result, Message)]
    for message in stored:
        assert await database.read(messages.get, message.id) == message
    if database.is_sqlite:
        assert [message.id for message in stored] == sorted(message.id for message in stored)
    counts = {channel.name: channel.message_count for channel in await database.read(messages.channels)}
    assert sum(counts.values()) == len(stored) == 98


async def test_a_caller_that_leaves_before_its_turn_writes_nothing(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL's writers begin at once")
    leaving = [asyncio.ensure_future(post(database, text=f"gone {n}")) for n in range(3)]
    staying = asyncio.ensure_future(post(database, text="here"))
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    stayed = await staying
    assert await database.read(messages.newest, "proj-x", 10) == [stayed]


async def test_one_read_brings_a_bounded_amount_of_text_and_the_rest_is_read_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MOST_CHARS", 100)
    ids = [(await post(database, text=size * "x")).id for size in (60, 60, 10, 500, 5, 5)]
    seen: list[list[int]] = []
    cursor, is_more = 0, True
    while is_more:
        page = await database.read(messages.after, "proj-x", cursor, 10)
        seen.append([message.id for message in page])
        cursor, is_more = page[-1].id, messages.is_full(page, 10)
    assert seen == [ids[:2], ids[2:4], ids[4:]]
    newest = await database.read(messages.newest, "proj-x", 10)
    assert [message.id for message in newest] == ids[3:]
    assert messages.is_full(newest, 10)
