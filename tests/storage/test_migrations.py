"""The schema: what migrations build is what the models say, and no database of the future is touched."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel, create_engine

import app.models  # noqa: F401 - fills the metadata
from app.storage import migrations
from app.storage.database import Database
from app.storage.lock import DatabaseInUse

pytestmark = pytest.mark.anyio
SEARCH = ("message_search", "ix_message_search")
"""The full-text index, which each database has in a form of its own."""


async def test_migrations_build_exactly_the_models(database: Database, url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        opts = {"compare_type": False, "include_name": lambda name, *_: not str(name).startswith(SEARCH)}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, SQLModel.metadata) == []
    engine.dispose()


def test_head_is_the_newest_revision() -> None:
    folder = Path(migrations.__file__).parent / "versions"
    assert max(path.name.split("_")[0] for path in folder.glob("0*.py")) == migrations.HEAD


async def test_a_newer_database_is_refused_by_name(url: str) -> None:
    first = Database(url, "hub")
    await first.open()
    await first.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(migrations.DatabaseTooNew, match="revision 9999"):
        await Database(url, "hub").open()


async def test_a_second_hub_on_a_sqlite_file_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    first = Database(url, "desk:1234")
    await first.open()
    try:
        with pytest.raises(DatabaseInUse, match="desk:1234"):
            await Database(url, "other").open()
    finally:
        await first.close()
    again = Database(url, "other")
    await again.open()
    await again.close()
