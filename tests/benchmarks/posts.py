"""Durable posts over the JSON API."""

from collections.abc import Iterator

from tests.benchmarks.bench import Bench, Side
from tests.benchmarks.figures import Figure
from tests.benchmarks.wire import post

MESSAGE = {"target": "bench", "sender": "bench", "text": "One kilobyte of a review. " * 40}


def run(bench: Bench) -> Iterator[Figure]:
    """Rates and p99 against an empty FastAPI route; alone, against one INSERT per request."""
    hub = Side(bench.hub, post("/api/messages", MESSAGE))
    empty, insert = (Side(bench.bare, post(path, MESSAGE)) for path in ("/empty", "/insert"))
    yield bench.side_by_side(1, hub, insert).rate("1 connection, against one sqlite3 INSERT each", at_least=0.6)
    for connections, at_least, at_most in ((1, None, None), (8, None, None), (64, 0.6, 3)):
        rounds = bench.side_by_side(connections, hub, empty)
        name = f"{connections} connection{'s' * (connections > 1)}, against an empty route"
        yield rounds.rate(name, at_least)
        yield rounds.p99(name, at_most)
