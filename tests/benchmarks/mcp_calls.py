"""Durable `post_message` over MCP, in both wire eras."""

from collections.abc import Iterator, Sequence

from tests.benchmarks.baselines import TOOL, baseline
from tests.benchmarks.bench import Bench, Side
from tests.benchmarks.figures import Figure
from tests.benchmarks.mcp_wire import LEGACY, MODERN, SESSION, call, opening, session_of
from tests.benchmarks.posts import MESSAGE
from tests.benchmarks.wire import Client

BARE = "mcp-json"
"""The baseline in the hub's own mode of answering, which is JSON for tools that report no progress; see
`baselines.KINDS`. In the newer era both kinds answer a quick call as JSON, so only the older one shows a difference."""


def run(bench: Bench) -> Iterator[Figure]:
    """Rates and p99 against the SDK with an empty tool."""
    bare = baseline(bench.hubs, BARE)
    for era in (LEGACY, MODERN):
        request, first = call(era, "/mcp", TOOL, MESSAGE), opening(era, "/mcp")
        hub, against = Side(bench.hub, request, first), Side(bare, request, first)
        form, other = form_of_answer(hub), form_of_answer(against)
        assert form == other, f"{era}: the hub answers with {form}, the baseline with {other}; change BARE"
        for connections in (8, 64):
            rounds = bench.side_by_side(connections, hub, against)
            name = f"{era}, {connections} connections, {form}"
            yield rounds.rate(name, at_least=0.85)
            yield rounds.p99(name)


def form_of_answer(side: Side) -> str:
    """What a call is answered with."""
    with Client(side.server.port) as client:
        session = open_session(client, side.opening)
        head = client.ask(side.request.replace(SESSION, session)).head
    return "a stream" if b"text/event-stream" in head else "JSON"


def open_session(client: Client, requests: Sequence[str]) -> str:
    """Send what opens a session, and return the session; empty in the era without them."""
    session = ""
    for request in requests:
        session = session_of(client.ask(request.replace(SESSION, session)).head) or session
    return session
