"""What an app-server that outlives the hub writes: to a file, because a pipe to a dead hub would break."""

import asyncio
import contextlib
import os
import re
import sys
from pathlib import Path

from app.settings import Settings
from app.visible import printable

NAME = "codex-app-server.log"
MAX_BYTES = 10 * 1024 * 1024
LINES_KEPT = 10
LOOK_SEC = 0.2

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def plain(line: bytes) -> str:
    """A line of output without its colours."""
    return _ANSI.sub("", line.decode(errors="replace")).rstrip()


def show(line: str) -> None:
    """Print a line of the app-server, as the setting `debug` asks."""
    sys.stderr.write(f"[thread-relay] {printable(line)}\n")


class Output:
    """The log file, from the moment of construction on."""

    def __init__(self, settings: Settings) -> None:
        self.path: Path = settings.log_path.parent / NAME
        self._debug = settings.debug
        self._start = self._shown = self._size()
        self._showing: asyncio.Task[None] | None = None

    def open(self) -> int:
        """A file descriptor for a new process to append to; a file that has grown large starts anew.

        Raises:
            OSError: it cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._size() > MAX_BYTES:
            # Not renamed: another app-server may still append to it.
            os.truncate(self.path, 0)
            self._start = self._shown = 0
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def follow(self) -> None:
        """With the setting `debug`, show what comes until `aclose`."""
        if self._debug:
            self._showing = asyncio.create_task(self._show())

    async def aclose(self) -> None:
        if self._showing is not None:
            self._showing.cancel()
            await asyncio.wait([self._showing])
            self._showing = None
            self._show_new()

    def last_words(self) -> list[str]:
        """The newest lines, for whoever explains a failed start."""
        return [plain(line) for line in self._read(self._start).splitlines()[-LINES_KEPT:]]

    async def _show(self) -> None:
        while True:
            self._show_new()
            await asyncio.sleep(LOOK_SEC)

    def _show_new(self) -> None:
        if self._size() < self._shown:
            self._shown = 0
        complete = self._read(self._shown).rpartition(b"\n")[:2]
        self._shown += sum(map(len, complete))
        for line in complete[0].splitlines():
            show(plain(line))

    def _read(self, start: int) -> bytes:
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(start)
            return file.read(MAX_BYTES)
        return b""

    def _size(self) -> int:
        with contextlib.suppress(OSError):
            return self.path.stat().st_size
        return 0
