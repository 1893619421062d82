"""Many readers of an event stream, in a process of their own.

The process prints a line once all streams are open, and then one for each message that has reached every reader:
`{"id": …, "at": […]}`, with a time of `time.monotonic` for each. It ends by itself when nothing comes for long.
"""

import asyncio
import gc
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from typing import Any

import uvloop

from tests.benchmarks.wire import HOST, get
from tests.support.hub import HubProcess
from tests.support.parts import CHECKOUT
from tests.support.processes import base_environ

SILENCE_SEC = 30
_ID = re.compile(rb"\nid: *(\d+)")


class Watchers:
    """`count` readers of a stream for the length of a block."""

    def __init__(self, hub: HubProcess, path: str, count: int) -> None:
        self._command = [sys.executable, "-m", "tests.benchmarks.watchers", str(hub.port), path, str(count)]
        self._environ = base_environ(hub.folder)

    def __enter__(self) -> "Watchers":
        self._process = subprocess.Popen(
            self._command,
            cwd=CHECKOUT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self._line()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def arrivals(self, message_id: int) -> list[float]:
        """When each reader had the message. Ask for the messages in the order in which they were posted."""
        while (told := self._line())["id"] != message_id:
            pass
        times: list[float] = told["at"]
        return times

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the watchers gave up: {self._process.communicate()[1].strip().rpartition(chr(10))[2]}"
        told: dict[str, Any] = json.loads(line)
        return told


class Watcher(asyncio.Protocol):
    """One stream. Reads ids and notes when their events were complete."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._data = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._data += data
        if not self.opened.done():
            head, gap, self._data = self._data.partition(b"\r\n\r\n")
            if not gap:
                self._data = head
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.opened.set_exception(AssertionError(f"not a stream: {head[:200]!r}"))
                return
            self.opened.set_result(None)
        # An event ends with an empty line; the marks of HTTP's chunks have carriage returns and look different.
        *events, self._data = self._data.split(b"\n\n")
        for event in events:
            if found := _ID.search(b"\n" + event):
                self._crowd.arrived(int(found[1]), now)


class Crowd:
    """All watchers of the process."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._arrivals: dict[int, list[float]] = defaultdict(list)
        self._told: asyncio.Queue[str] = asyncio.Queue()

    def arrived(self, message_id: int, now: float) -> None:
        times = self._arrivals[message_id]
        times.append(now)
        if len(times) == self._count:
            del self._arrivals[message_id]
            self._told.put_nowait(json.dumps({"id": message_id, "at": times}))

    async def watch(self, port: int, path: str) -> None:
        request = get(path, Accept="text/event-stream").encode()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SILENCE_SEC):
            for _ in range(self._count):
                transport, watcher = await loop.create_connection(lambda: Watcher(self), HOST, port)
                transport.write(request)
                await watcher.opened
        print("{}", flush=True)
        while True:
            async with asyncio.timeout(SILENCE_SEC):
                print(await self._told.get(), flush=True)


def main() -> None:
    port, path, count = sys.argv[1:]
    # A collection in the middle would be counted as the hub's delay.
    gc.disable()
    uvloop.run(Crowd(int(count)).watch(int(port), path))


if __name__ == "__main__":
    main()
