"""Search finds the same messages on both databases."""

import pytest
from sqlmodel import Session

from app.storage import messages
from app.storage.database import Database
from app.storage.search import index, search, terms

pytestmark = pytest.mark.anyio

TEXTS = [
    "The quick brown fox jumps over app/storage/database.py",
    "A brown QUICK dog; see foo_bar() and http://example.org/page?x=1",
    "Überraschung: naïve café, 100% sure",
    "```diff\n-old_name = 1\n+new_name = 2\n```",
]


@pytest.fixture
async def filled(database: Database) -> Database:
    for number, text in enumerate(TEXTS):
        sender = "claude" if number % 2 else "codex"
        await database.write(messages.append, target="proj-x", sender=sender, text=text, source="mcp")
    await database.write(messages.append, target="Proj-X", sender="claude", text="quick in another", source="mcp")
    return database


async def found(database: Database, query: str, **where: object) -> list[int]:
    while await database.write(index, 2):
        pass
    rows = await database.read(search, terms(query), 50, **where)  # type: ignore[arg-type]
    return [message.id for message in rows]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("quick", [5, 2, 1]),
        ("QUICK brown", [2, 1]),
        ('"quick brown"', [1]),
        ("quic*", [5, 2, 1]),
        ("quic", []),
        ("database.py", [1]),
        ("storage/database", [1]),
        ("foo_bar", [2]),
        ("foo_b*", [2]),
        ("überraschung", [3]),
        ("naïve", [3]),
        ("naive", []),
        ("new_name", [4]),
        ("100%", [3]),
        ("it's-not-there", []),
        ('quick AND "', [2]),
        ("brown -- dog", [2]),
        ('fox" OR text:"dog', []),
        ("nothing*", []),
    ],
)
async def test_a_query_finds_the_messages_that_hold_all_its_words(
    filled: Database, query: str, expected: list[int]
) -> None:
    assert await found(filled, query) == expected


async def test_a_search_can_be_kept_to_a_channel_a_sender_and_older_messages(filled: Database) -> None:
    assert await found(filled, "quick", target="proj-x") == [2, 1]
    assert await found(filled, "quick", target="proj") == []
    assert await found(filled, "quick", sender="claude") == [5, 2]
    assert await found(filled, "quick", before_id=5, sender="claude") == [2]


async def test_the_whole_of_a_long_text_can_be_stored_and_its_beginning_found(filled: Database) -> None:
    text = "start " + " ".join(f"w{n}" for n in range(150_000))
    posted = await filled.write(messages.append, target="proj-x", sender="claude", text=text, source="mcp")
    assert await found(filled, "start w7") == [posted.id]


def steps(session: Session, query: str, before_id: int | None) -> int:
    """How many steps SQLite takes for a search, in tens."""
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    connection = session.connection().connection.driver_connection
    assert connection
    connection.set_progress_handler(count, 10)
    search(session, terms(query), 5, before_id=before_id)
    connection.set_progress_handler(None, 0)
    return taken


async def test_words_that_many_messages_hold_cost_no_more_than_those_of_few(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("PostgreSQL plans by its own statistics")
    costs = []
    for count in (50, 2000):
        posts = [messages.Post("proj-x", "claude", "the common words", "mcp")] * count
        await database.write(messages.append_each, posts)
        while await database.write(index, 1000):
            pass
        queries = [("common", None), ('"common words"', None), ("comm*", None), ("common", 40)]
        costs.append([await database.read(steps, *query) for query in queries])
    few, many = costs
    assert all(later <= 2 * earlier for earlier, later in zip(few, many, strict=True)), costs


@pytest.mark.parametrize("query", ["", "   ", "-- * \" '", '""', "_"])
def test_a_query_without_a_word_has_no_terms(query: str) -> None:
    assert terms(query) == []
