"""Programs that tests run: bounded, with their output kept, and nothing left behind."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

RUN_MARKER = "TEST_RUN_OF_HUB"
"""A variable that every child of a test inherits, so that orphans can be found too. Not one of the hub's own
variables: those it takes out of what the app-server inherits."""

T = TypeVar("T")


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


def base_environ(home: Path) -> dict[str, str]:
    """What a program needs of this machine, and nothing of the user who runs the tests."""
    kept = ("PATH", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    return environ | {"HOME": str(home), "NO_COLOR": "1"}


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    timeout: float = 60,
    stdin: str = "",
) -> Finished:
    """Run a program to its end; after the timeout it and its children are killed and the test fails."""
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException as error:
            kill_group(process.pid)
            stdout, stderr = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise AssertionError(f"{command[0]} did not end within {timeout} s\n{stdout}\n{stderr}") from error
    return Finished(process.returncode, stdout, stderr)


def kill_group(pid: int) -> None:
    """Kill a process that leads its own group, with the whole group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_until(condition: Callable[[], T], complaint: str, timeout: float = 10) -> T:
    """The first true value of a condition; fails with the complaint after the timeout."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{complaint} within {timeout} s"
        time.sleep(0.01)
    return value


def relatives(marker: str) -> dict[int, str]:
    """Living processes that carry this marker in their environment.

    Empty where the system has no /proc.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (folder / "environ").read_bytes()
            zombie = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if pid != os.getpid() and not zombie and marker.encode() in environ:
            found[pid] = command.strip()
    return found


def end_relatives(marker: str) -> dict[int, str]:
    """Kill what `relatives` finds and tell what that was."""
    found = relatives(marker)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_until(lambda: not relatives(marker), f"killed processes live on: {found}")
    return found
