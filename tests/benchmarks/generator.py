"""The load generator: connections that each ask again as soon as they are answered, in a process of its own.

The process takes a `Plan` as JSON on standard input and prints a `Load`. It spends little on a request, so that the
server is what is measured, and imports next to nothing, because it is started for each measurement.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from tests.benchmarks.mcp_wire import SESSION, session_of
from tests.benchmarks.wire import HOST, Answer, parse

WARM_UP = 0.25
"""How much longer the load lasts than is counted, as a part of the counted time."""
PATIENCE_SEC = 60
"""How long connecting, and the last answers, may take."""


@dataclass(frozen=True)
class Plan:
    """What to send. Each connection sends `opening` once, then `request` again and again; `seconds` are counted."""

    request: str
    connections: int
    seconds: float
    opening: Sequence[str] = ()


@dataclass(frozen=True)
class Load:
    """What came of a plan."""

    rate: float
    """Answers per second."""
    p99_ms: float
    cpu_us: float
    """Processor time of the server per request."""


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Caller(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.answered: list[float] = []
        self._data = b""
        self._done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._until: float | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionResetError("the server closed a connection"))

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
        answer = parse(data)
        if answer is None:
            self._data = data
            return
        self._data = b""
        if not 200 <= answer.status < 300 or b'"isError":true' in answer.body:
            self._done.set_exception(AssertionError(f"answer {answer.status}: {answer.body[:300]!r}"))
        elif self._until is None:
            self._done.set_result(answer)
        else:
            self._again(self._until)

    def _again(self, until: float) -> None:
        now = time.monotonic()
        self.answered.append(now)
        if now < until:
            self.sent.append(now)
            self._transport.write(self._request)
        else:
            self._done.set_result(None)

    async def open(self, requests: Sequence[str]) -> str:
        """Send the requests one after the other; the session that was given out on the way, if there is one."""
        session = ""
        for request in requests:
            self._done = asyncio.get_running_loop().create_future()
            self._transport.write(request.replace(SESSION, session).encode())
            answer: Answer = await self._done
            session = session_of(answer.head) or session
        return session

    async def repeat(self, request: str, until: float) -> None:
        """Send the request again and again until that time of `time.monotonic`."""
        self._done = asyncio.get_running_loop().create_future()
        self._request, self._until = request.encode(), until
        self.sent.append(time.monotonic())
        self._transport.write(self._request)
        await self._done


async def generate(plan: Plan, port: int, pid: int) -> Load:
    """Run a plan on the server of that port and process."""
    loop = asyncio.get_running_loop()
    callers: list[Caller] = []
    requests = []
    async with asyncio.timeout(PATIENCE_SEC):
        # One after the other: what a server needs for many at once is not what is measured.
        for _ in range(plan.connections):
            _, caller = await loop.create_connection(Caller, HOST, port)
            requests.append(plan.request.replace(SESSION, await caller.open(plan.opening)))
            callers.append(caller)
    cpu_before = cpu_seconds(pid)
    start = time.monotonic() + plan.seconds * WARM_UP
    end = start + plan.seconds
    async with asyncio.timeout(plan.seconds * (1 + WARM_UP) + PATIENCE_SEC):
        await asyncio.gather(*(caller.repeat(request, end) for caller, request in zip(callers, requests, strict=True)))
    cpu = cpu_seconds(pid) - cpu_before
    times = [pair for caller in callers for pair in zip(caller.sent, caller.answered, strict=True)]
    counted = [(answered - sent, answered) for sent, answered in times if answered >= start]
    took = sorted(seconds for seconds, _ in counted)
    return Load(
        # To the last answer: each connection has at least one after the start, so that nothing is divided by zero.
        rate=len(counted) / (max(answered for _, answered in counted) - start),
        p99_ms=took[len(took) * 99 // 100] * 1000,
        cpu_us=cpu / len(times) * 1e6,
    )


def main() -> None:
    port, pid = map(int, sys.argv[1:])
    plan = Plan(**json.load(sys.stdin))
    # A collection in the middle would be counted as the server's delay.
    gc.disable()
    json.dump(asdict(uvloop.run(generate(plan, port, pid))), sys.stdout)


if __name__ == "__main__":
    main()
