"""A program at a terminal of its own, as a person runs it."""

import fcntl
import os
import pty
import re
import struct
import termios
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import RUN_MARKER, end_relatives, relatives, wait_until

SIZE = struct.pack("HHHH", 50, 160, 0, 0)
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")


class Terminal:
    """The program runs for the length of a block, and so does what it starts.

    What it shows is read all the time, so that it never blocks.
    """

    def __init__(self, command: Sequence[str | Path], cwd: Path, environ: Mapping[str, str]) -> None:
        self._shown = b""
        self._marker = uuid.uuid4().hex
        environ = {**environ, RUN_MARKER: self._marker, "TERM": "xterm-256color"}
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(cwd)
                os.execve(command[0], [str(part) for part in command], environ)
            finally:
                os._exit(127)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, SIZE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_relatives(self._marker)
        os.waitpid(self._pid, 0)
        self._reader.join(10)
        os.close(self._master)
        if kind is not None:
            print(self.text)

    @property
    def text(self) -> str:
        """What it has shown so far, without the commands to the terminal."""
        return ESCAPES.sub("", self._shown.decode(errors="replace"))

    @property
    def processes(self) -> list[str]:
        """The command lines of the program and of everything that came from it, as far as they live."""
        return list(relatives(self._marker).values())

    def see(self, text: str, timeout: float = 30) -> None:
        """Return once it shows the text; blanks do not count, for programs move the cursor instead of printing them."""
        wanted = text.replace(" ", "")
        wait_until(lambda: wanted in re.sub(r"\s", "", self.text), f"{text!r} was not shown", timeout)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _read(self) -> None:
        while True:
            try:
                self._shown += os.read(self._master, 65536)
            except OSError:
                # Linux's way to say that nobody has the other end open.
                return
