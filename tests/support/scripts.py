"""Scripts that run until they are told to stop."""

import re
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import RUN_MARKER, end_relatives, relatives, wait_until

END_SECONDS = 10


class Script:
    """A program in a process of its own, and what it has printed.

    Leaving the block ends it, and the test fails where it leaves a process behind.
    """

    def __init__(self, command: Sequence[str | Path], cwd: Path, environ: Mapping[str, str]) -> None:
        self._marker = uuid.uuid4().hex
        self._out, self._err = (cwd / f"{self._marker}.{name}" for name in ("out", "err"))
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env={**environ, RUN_MARKER: self._marker},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._process.poll() is None:
                    self.end()
                wait_until(lambda: not self.children, f"left behind: {self.children}, not gone", timeout=3)
        finally:
            end_relatives(self._marker)
            self._process.wait()
            print(self.out, self.err)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_bytes().decode()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_bytes().decode()

    @property
    def children(self) -> dict[int, str]:
        """Everything alive that came from it."""
        return {pid: text for pid, text in relatives(self._marker).items() if pid != self.pid}

    def see(self, pattern: str, timeout: float = 20) -> re.Match[str]:
        """The first match in its output, on a line of its own; fails when there is none in time."""
        lines = re.compile(f"^{pattern}$", re.MULTILINE)
        complaint = f"{pattern!r} was not printed"
        try:
            found = wait_until(lambda: lines.search(self.out), complaint, timeout)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.out}\n{self.err}") from None
        assert found
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; its exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended; fails when it does not end in time."""
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {END_SECONDS} s\n{self.out}\n{self.err}") from None
