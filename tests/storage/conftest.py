"""Every storage test runs on both databases."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.storage.database import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'hub.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def database(url: str, anyio_backend: str) -> AsyncIterator[Database]:
    """An open database; what it publishes is in `published`."""
    async for opened in _opened(url, "first", lambda topics: None):
        yield opened


async def _opened(url: str, owner: str, publish: Callable[..., None]) -> AsyncIterator[Database]:
    database = Database(url, owner, publish)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def second(url: str, database: Database) -> AsyncIterator[Database]:
    """A second hub's view of the same database, where that can be."""
    if database.is_sqlite:
        pytest.skip("one hub per SQLite file")
    async for opened in _opened(url, "second", lambda topics: None):
        yield opened
