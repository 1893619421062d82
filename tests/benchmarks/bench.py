"""What all measurements share: how long they may take, and the servers and databases that they use."""

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from app.settings import Settings
from app.storage import search
from app.storage.database import Database
from tests.benchmarks.baselines import baseline
from tests.benchmarks.generator import Plan
from tests.benchmarks.load import Rounds, run_load
from tests.benchmarks.mcp_wire import MODERN, call
from tests.benchmarks.wire import Client
from tests.support.hub import HubProcess, Hubs

BUSY = "busy"
"""The channel of a history that holds half of its messages; the rest is spread over others."""

_CHANNELS = 20
_FILL_CHANNELS = "INSERT INTO channel (name, created_at, message_count) VALUES (:name, unixepoch(), 0)"
_FILL = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count)
INSERT INTO message (ts, target, sender, text, source)
SELECT
    unixepoch() - :count + n,
    CASE n % 2 WHEN 0 THEN :busy ELSE 'other-' || (n / 2 % :channels) END,
    CASE n % 3 WHEN 0 THEN 'claude' ELSE 'codex' END,
    printf('Message %d: file-%d.py of job %d was changed, and its review says **nothing new** about the '
        || 'handling of errors; see the notes of run %d before the next step.%s', n, n % 997, n / 100, n % 89,
        char(10) || char(10) || 'It took a while.'),
    'api'
FROM number
"""
_COUNT = "UPDATE channel SET message_count = (SELECT count(*) FROM message WHERE target = channel.name)"


@dataclass(frozen=True)
class Scale:
    """How much is measured. Seconds are those of one measurement, of which each round has several."""

    rounds: int
    seconds: float
    few: int
    many: int
    posts: int
    watchers: int
    sessions: int
    starts: int


FULL = Scale(rounds=5, seconds=2, few=10_000, many=1_000_000, posts=60, watchers=1000, sessions=1000, starts=5)
QUICK = Scale(rounds=3, seconds=0.7, few=10_000, many=200_000, posts=20, watchers=1000, sessions=1000, starts=3)
TINY = Scale(rounds=1, seconds=0.1, few=50, many=200, posts=2, watchers=5, sessions=5, starts=1)


class Side(NamedTuple):
    """Who is asked, and what; `opening` is sent once on each connection first."""

    server: HubProcess
    request: str
    opening: Sequence[str] = ()


class Bench:
    """One run of `scripts/bench`: servers and databases are made when they are first needed, and end with it."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.hubs = Hubs()

    def __enter__(self) -> "Bench":
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        return self

    def __exit__(self, *_: object) -> None:
        # It shows what the servers printed, which is of use to pytest alone.
        with contextlib.redirect_stdout(None), self._folder:
            self.hubs.end()

    def start_hub(self, **settings: object) -> HubProcess:
        """A running hub that has loaded everything: it may leave MCP for after its first answers."""
        hub = self.hubs(**settings)
        with Client(hub.port) as client:
            client.ask(call(MODERN, "/mcp", "list_channels", {}))
        return hub

    @cached_property
    def hub(self) -> HubProcess:
        """A hub for everything that does not mind what the others have posted."""
        return self.start_hub()

    @cached_property
    def bare(self) -> HubProcess:
        """The HTTP baseline."""
        return baseline(self.hubs, "http")

    def side_by_side(self, connections: int, hub: Side, against: Side) -> Rounds:
        """Load on one and then on the other, in rounds."""
        (ours, plan), (theirs, other) = (
            (side.server, Plan(side.request, connections, self.scale.seconds, side.opening)) for side in (hub, against)
        )
        return Rounds([(run_load(ours, plan), run_load(theirs, other)) for _ in range(self.scale.rounds)])

    def history(self, messages: int) -> Path:
        """The data folder of a hub with that many messages in it, their ids from 1 on. For one hub at a time."""
        folder = Path(self._folder.name) / str(messages)
        if not folder.exists():
            _fill(folder, messages)
        return folder


def _fill(folder: Path, messages: int) -> None:
    """Make a database as the hub would, and fill it at once, where the hub would take a commit for every few."""

    async def open_and(work: Callable[[Database], Awaitable[None]]) -> None:
        database = Database(Settings(data_dir=folder).database, "bench")
        await database.open()
        try:
            await work(database)
        finally:
            await database.close()

    async def migrate(_: Database) -> None:
        """Opening does it."""

    async def index(database: Database) -> None:
        while await database.write(search.index, 50_000):
            pass

    asyncio.run(open_and(migrate))
    with contextlib.closing(sqlite3.connect(folder / "relay-hub.db")) as connection, connection:
        names = [BUSY, *(f"other-{number}" for number in range(_CHANNELS))]
        connection.executemany(_FILL_CHANNELS, [{"name": name} for name in names])
        connection.execute(_FILL, {"count": messages, "busy": BUSY, "channels": _CHANNELS})
        connection.execute(_COUNT)
    asyncio.run(open_and(index))
