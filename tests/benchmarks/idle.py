"""What those cost who are there and ask for nothing: memory of the hub's process."""

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure
from tests.benchmarks.live import stream_of
from tests.benchmarks.mcp_calls import open_session
from tests.benchmarks.mcp_wire import LEGACY, opening
from tests.benchmarks.watchers import Watchers
from tests.benchmarks.wire import Client
from tests.support.hub import HubProcess

MOST_MB = 50
FIRST = 20
"""Come and go before memory is looked at, so that what the hub loads once is not counted."""


def run(bench: Bench) -> Iterator[Figure]:
    """Resident memory with them, less what it was before."""
    hub = bench.start_hub()
    stream, watchers = stream_of("idle"), bench.scale.watchers
    with Watchers(hub, stream, FIRST):
        pass
    before = megabytes(hub.pid)
    with Watchers(hub, stream, watchers):
        yield _figure(f"{watchers} idle watchers", before, megabytes(hub.pid))
    hub.stop()

    hub = bench.start_hub()
    sessions = bench.scale.sessions
    _open_sessions(hub, FIRST)
    before = megabytes(hub.pid)
    _open_sessions(hub, sessions)
    yield _figure(f"{sessions} idle MCP sessions", before, megabytes(hub.pid))
    hub.stop()


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _open_sessions(hub: HubProcess, count: int) -> None:
    """Open sessions and leave them there, as clients do."""
    for _ in range(count):
        with Client(hub.port) as client:
            open_session(client, opening(LEGACY, "/mcp"))


def _figure(name: str, before: float, after: float) -> Figure:
    note = f"the hub's process: {before:.0f} MB before, {after:.0f} MB with them"
    return Figure(f"{name}, memory added", "MB", after - before, at_most=MOST_MB, note=note)
