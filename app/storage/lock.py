"""Who owns a SQLite file: one hub at a time, and its name for the one that comes second."""

from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import CannotStart


class DatabaseInUse(CannotStart):
    """Another hub has the database open."""


class FileOwner:
    """A lock beside the database. The system drops it when its holder dies, however it dies."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._lock = FileLock(f"{database}.lock")
        self._name = Path(f"{database}.owner")

    def acquire(self, name: str) -> None:
        """Take the file, or say who has it.

        Raises:
            DatabaseInUse: with the holder's name in its text.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            holder = self._name.read_text("utf-8") if self._name.exists() else "another hub"
            raise DatabaseInUse(
                f"{self._database} is in use by {holder}. Stop that hub, give this one another data_dir, "
                "or let both share a PostgreSQL by database_url."
            ) from None
        self._name.write_text(name, "utf-8")

    def release(self) -> None:
        self._name.unlink(missing_ok=True)
        self._lock.release()
