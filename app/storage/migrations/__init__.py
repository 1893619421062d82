"""The schema's history, by Alembic. Every start brings the database to HEAD or refuses."""

from pathlib import Path

from sqlalchemy import Engine, inspect, text

from app.errors import CannotStart

HEAD = "0004"
"""The revision that this code writes; a test holds it to the newest file in `versions`."""


class DatabaseTooNew(CannotStart):
    """The database was written by a newer Relay Hub."""


def is_current(engine: Engine) -> bool:
    """Whether there is nothing to change."""
    return _revision(engine) == HEAD


def upgrade(engine: Engine) -> None:
    """Bring the database to HEAD.

    Raises:
        DatabaseTooNew: its revision is unknown to this code.
    """
    revision = _revision(engine)
    if revision == HEAD:
        return

    # Alembic costs a quarter of a second to import: only a start that has something to change pays it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    if revision is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(revision)
        except CommandError:
            raise DatabaseTooNew(
                f"The database is at revision {revision}, this Relay Hub knows up to {HEAD}. "
                "Install the newer version that wrote it, or restore an older backup."
            ) from None
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            # Hubs that start together must not create the same tables.
            connection.execute(text("SELECT pg_advisory_xact_lock(8010)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return revision
