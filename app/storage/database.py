"""One database, SQLite or PostgreSQL, with two verbs: `write` and `read`.

A unit of work is a plain function that takes a `Tx` or a `Session` first. It runs off the event loop and is
all or nothing. Topics that it emits are published after its commit, never before and never without.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlmodel import Session, SQLModel, create_engine

from app.errors import CannotStart, DatabaseUnavailable
from app.storage import migrations
from app.storage.group import GroupCommit
from app.storage.listen import CHANNEL, NOTIFY, Listener
from app.storage.lock import FileOwner
from app.storage.statement import insert_of

P = ParamSpec("P")
A = TypeVar("A")
T = TypeVar("T")

Publish = Callable[[Sequence[str]], None]

READERS = 4
POSTGRES_WRITERS = 8
_DEADLOCK_TRIES = 5

logger = logging.getLogger("relay_hub.storage")


@dataclass
class Tx:
    """A write in progress, and the topics to publish once it is durable.

    `connection` is for the hot path: a session costs five times what a plain statement does.
    """

    connection: Connection
    topics: list[str] = field(default_factory=list)

    @cached_property
    def session(self) -> Session:
        return _session(self.connection)

    @property
    def dialect(self) -> str:
        return self.connection.dialect.name

    def insert(self, table: type[SQLModel]) -> sqlite.Insert | postgresql.Insert:
        """An insert that knows ON CONFLICT."""
        made: sqlite.Insert | postgresql.Insert = insert_of(self.dialect)(table)
        return made

    def emit(self, *topics: str) -> None:
        self.topics.extend(topics)


class Database:
    """Opens, migrates and serves one database until `close`."""

    def __init__(self, url: str, owner: str, publish: Publish = lambda topics: None) -> None:
        self._url = make_url(url)
        self._owner = owner
        self._publish = publish
        self.is_sqlite = self._url.get_backend_name() == "sqlite"

    def __str__(self) -> str:
        """The location without a password: what answers call `statePath`."""
        if self.is_sqlite:
            return str(self._url.database)
        return self._url.render_as_string(hide_password=True)

    async def open(self, *, beside_hub: bool = False) -> None:
        """Take the file, migrate, start the threads.

        With `beside_hub` a hub may have the file; it is taken only to migrate.

        Raises:
            DatabaseInUse: another hub holds the SQLite file.
            DatabaseTooNew: a newer Relay Hub wrote this database.
            CannotStart: the file cannot be written, the server does not answer or does not let us in.
        """
        try:
            await self._open(beside_hub)
        except (DBAPIError, OSError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise CannotStart(f"Cannot open the database {self}: {reason}") from error

    async def _open(self, beside_hub: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock: FileOwner | None = None
        self._group: GroupCommit | None = None
        self._listener: Listener | None = None
        if self.is_sqlite:
            path = Path(str(self._url.database))
            path.parent.mkdir(parents=True, exist_ok=True)
        self._engine = _engine(self._url.render_as_string(hide_password=False))
        try:
            if self.is_sqlite and not (beside_hub and await asyncio.to_thread(migrations.is_current, self._engine)):
                owner = FileOwner(path)
                owner.acquire(self._owner)
                self._lock = owner
            await asyncio.to_thread(migrations.upgrade, self._engine)
        except BaseException:
            self._engine.dispose()
            self._let_go()
            raise
        if beside_hub:
            self._let_go()
        self._readers = ThreadPoolExecutor(READERS, "relay-hub-read")
        if self.is_sqlite:
            self._group = GroupCommit(self._engine.connect().execution_options(write=True), _run_unit, self._publish)
        else:
            self._writers = ThreadPoolExecutor(POSTGRES_WRITERS, "relay-hub-write")
            self._listener = Listener(self._engine, self._owner, self._heard)

    async def close(self) -> None:
        """Finish what was accepted, then let go of everything."""
        if self._listener:
            await asyncio.to_thread(self._listener.close)
        if self._group:
            await self._group.close()
        else:
            await asyncio.to_thread(self._writers.shutdown)
        await asyncio.to_thread(self._readers.shutdown)
        self._engine.dispose()
        self._let_go()

    def _let_go(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None

    async def write(self, unit: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `unit` in a transaction and return its result once that is durable.

        Raises:
            DatabaseUnavailable: the database is locked or gone; nothing was written.
        """

        def alone(tx: Tx, _: Sequence[None]) -> list[T]:
            return [unit(tx, *args, **kwargs)]

        return await self.write_each(alone, None)

    async def write_each(self, unit: Callable[[Tx, Sequence[A]], list[T]], argument: A) -> T:
        """Run `unit` for an argument, on SQLite perhaps together with other callers' arguments for the same unit.

        The unit returns a result for each argument, or raises; then each argument is tried alone.

        Raises:
            DatabaseUnavailable: the database is locked or gone; nothing was written.
        """
        with _available():
            if self._group:
                result: T = await self._group.submit(unit, argument)
                return result
            work = partial(_run_unit, unit=unit, arguments=[argument])
            (result,) = await self._loop.run_in_executor(self._writers, self._write_postgres, work)
            return result

    async def read(self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `query` on a consistent snapshot and return its result.

        Raises:
            DatabaseUnavailable: the database is gone.
        """

        def work() -> T:
            with self._engine.connect() as connection, _session(connection) as session:
                return query(session, *args, **kwargs)

        with _available():
            return await self._loop.run_in_executor(self._readers, work)

    def _write_postgres(self, work: "Callable[[Connection], tuple[T, list[str]]]") -> T:
        for attempt in range(_DEADLOCK_TRIES):
            try:
                with self._engine.begin() as connection:
                    result, topics = work(connection)
                    if topics:
                        connection.execute(NOTIFY, {"channel": CHANNEL, "payload": json.dumps([self._owner, topics])})
                break
            except OperationalError as error:
                if not _is_deadlock(error) or attempt == _DEADLOCK_TRIES - 1:
                    raise
        self._committed(topics)
        return result

    def _committed(self, topics: Sequence[str]) -> None:
        """Called on a writer's thread after a commit."""
        if topics:
            self._loop.call_soon_threadsafe(self._publish, topics)

    def _heard(self, topics: Sequence[str]) -> None:
        """Called on the listener's thread: another hub committed something."""
        self._loop.call_soon_threadsafe(self._publish, topics)


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise DatabaseUnavailable(f"The database does not work at the moment: {error.orig}") from error


def _run_unit(
    connection: Connection, unit: Callable[[Tx, Sequence[A]], list[T]], arguments: Sequence[A]
) -> tuple[list[T], list[str]]:
    tx = Tx(connection)
    try:
        results = unit(tx, arguments)
        if "session" in vars(tx):
            tx.session.flush()
    finally:
        if "session" in vars(tx):
            tx.session.close()
    return results, tx.topics


def _session(connection: Connection) -> Session:
    """A session that leaves beginning and ending to whoever owns the connection."""
    return Session(bind=connection, expire_on_commit=False, join_transaction_mode="rollback_only")


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_size=READERS + POSTGRES_WRITERS, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"check_same_thread": False}, pool_size=READERS + 2, paramstyle="named")
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own BEGIN comes too late to protect a read-modify-write; _begin_sqlite sends ours.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_deadlock(error: OperationalError) -> bool:
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01")
