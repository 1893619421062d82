"""Reading near the end of a channel: the cost must not grow with what is stored."""

import json
from collections.abc import Callable, Iterator

from tests.benchmarks.bench import BUSY, Bench, Side
from tests.benchmarks.figures import Figure
from tests.benchmarks.mcp_wire import MODERN, call
from tests.benchmarks.wire import Client, get

LIMIT = 50
CONNECTIONS = 8


def newest(stored: int) -> str:
    return get(f"/api/messages?target={BUSY}&limit={LIMIT}")


def after(stored: int) -> str:
    return get(f"/api/messages?target={BUSY}&limit={LIMIT}&since_id={_near_the_end(stored)}")


def tool(stored: int) -> str:
    arguments = {"target": BUSY, "since_id": _near_the_end(stored), "limit": LIMIT}
    return call(MODERN, "/mcp", "fetch_messages", arguments)


REQUESTS: dict[str, Callable[[int], str]] = {
    f"GET newest {LIMIT}": newest,
    f"GET {LIMIT} since an id near the end": after,
    f"MCP fetch_messages, {LIMIT} near the end": tool,
}


def run(bench: Bench) -> Iterator[Figure]:
    """Time per request with many messages stored against the same with few."""
    counts = bench.scale.many, bench.scale.few
    hubs = [bench.start_hub(data_dir=bench.history(count)) for count in counts]
    for name, request in REQUESTS.items():
        many, few = (Side(hub, request(count)) for hub, count in zip(hubs, counts, strict=True))
        if request is not tool:
            for side, count in zip((many, few), counts, strict=True):
                assert _messages(side) == min(LIMIT, count // 2), f"{name}: not the messages that were meant"
        rounds = bench.side_by_side(CONNECTIONS, many, few)
        yield rounds.cost(f"{name}, {counts[0]} stored to {counts[1]}", at_most=1.2)
    for hub in hubs:
        hub.stop()


def _near_the_end(stored: int) -> int:
    """The id after which the channel has LIMIT more: it holds every second message."""
    return max(0, stored - 2 * LIMIT)


def _messages(side: Side) -> int:
    with Client(side.server.port) as client:
        return len(json.loads(client.ask(side.request).body)["messages"])
