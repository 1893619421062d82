"""From starting the program to its first answers."""

import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure
from tests.benchmarks.generator import cpu_seconds
from tests.benchmarks.mcp_wire import MODERN, call
from tests.benchmarks.wire import HOST, Client, get
from tests.support.hub import START_SECONDS, HubProcess

FIRST = get("/healthz")
LATER = {"page": get("/", Accept="text/html"), "MCP call": call(MODERN, "/mcp", "list_channels", {})}
"""Asked after it, one after the other."""
POLL_SEC = 0.002


@dataclass(frozen=True)
class Start:
    """Seconds from exec to each answer, and how much of the processor the hub had used by the first."""

    first: float
    processor: float
    later: Sequence[float]


def run(bench: Bench) -> Iterator[Figure]:
    """Medians of some starts each."""
    for label, messages in (("empty", 0), (f"{bench.scale.many} messages", bench.scale.many)):
        hub = bench.hubs.prepare(**({"data_dir": bench.history(messages)} if messages else {}))
        starts = [_start(hub) for _ in range(bench.scale.starts)]
        processor = statistics.median(start.processor for start in starts)
        yield Figure(
            f"{label}: to the first answer",
            "s",
            statistics.median(start.first for start in starts),
            at_most=1.5,
            note=f"the hub's processor time until then: {processor:.2f} s",
        )
        for name, *times in zip(LATER, *(start.later for start in starts), strict=True):
            yield Figure(f"{label}: to the first {name} after it", "s", statistics.median(times))


def _start(hub: HubProcess) -> Start:
    """Start the hub, ask it, stop it again."""
    # Known beforehand, so that the hub can be asked before it says where it is.
    with socket.create_server((HOST, 0)) as free:
        hub.port = free.getsockname()[1]
    with ThreadPoolExecutor(1) as asking:
        start = asking.submit(_ask, hub, time.monotonic())
        hub.start()
        took = start.result()
    hub.stop()
    return took


def _ask(hub: HubProcess, began: float) -> Start:
    while True:
        try:
            with Client(hub.port) as client:
                client.ask(FIRST)
                first, processor = time.monotonic() - began, cpu_seconds(hub.pid)
                later = []
                for question in LATER.values():
                    client.ask(question)
                    later.append(time.monotonic() - began)
                return Start(first, processor, later)
        except ConnectionRefusedError:
            assert time.monotonic() - began < START_SECONDS, "the hub did not answer"
            time.sleep(POLL_SEC)
