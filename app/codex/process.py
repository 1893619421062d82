"""The app-server as a child process that talks over its standard streams: where no socket can be had.

It runs in a process group of its own and never outlives us: a hub that stops climbs the ladder (close
stdin, SIGTERM, SIGKILL), a hub that is killed closes stdin by dying, and the app-server then exits.
"""

import asyncio
import asyncio.subprocess
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections import deque
from typing import Any, Self

from app.codex.jsonrpc import ConnectionClosed
from app.codex.output import LINES_KEPT, plain, show
from app.codex.program import INSTALL_HINT, command
from app.errors import AppServerUnavailable
from app.settings import ENV_PREFIX, Settings

logger = logging.getLogger("relay_hub.codex")

MAX_LINE_BYTES = 64 * 1024 * 1024
CLOSE_WAIT_SEC = 3.0
"""After stdin closed; the real app-server needs 0.02 s, with a running turn up to 1.5 s."""
TERM_WAIT_SEC = 2.0
KILL_WAIT_SEC = 5.0
LAST_WORDS_SEC = 0.5


class _Streams(asyncio.subprocess.SubprocessStreamProtocol):
    """Says at once that the process has exited: `Process.wait()` also waits for the pipes, which a
    grandchild can hold open."""

    def __init__(self) -> None:
        super().__init__(MAX_LINE_BYTES, asyncio.get_running_loop())
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        self.exited.set()
        super().process_exited()


class AppServerProcess:
    """A running app-server; a jsonrpc.Transport with one JSON text per line."""

    def __init__(self, transport: asyncio.SubprocessTransport, streams: _Streams, debug: bool) -> None:
        process = asyncio.subprocess.Process(transport, streams, asyncio.get_running_loop())
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._transport = transport
        self._exited = streams.exited
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._debug = debug
        self._stopping: asyncio.Task[None] | None = None
        self._drain = asyncio.create_task(self._drain_stderr())
        self.pid = process.pid
        self.path = None
        self.attached = False
        self.last_words: deque[str] = deque(maxlen=LINES_KEPT)
        """The newest lines of standard error, for whoever explains a failed start."""

    @classmethod
    async def spawn(cls, settings: Settings) -> Self:
        """Start the program.

        Raises:
            AppServerUnavailable: it cannot be found or started.
        """
        argv = command(settings)
        try:
            settings.codex_home.mkdir(parents=True, exist_ok=True)
            transport, streams = await asyncio.get_running_loop().subprocess_exec(
                _Streams, *argv, env=environment(settings), **_own_group()
            )
        except OSError as error:
            raise AppServerUnavailable(
                f"Failed to start codex app-server: {error}. {INSTALL_HINT}", cause=str(error)
            ) from error
        return cls(transport, streams, settings.debug)

    async def send(self, text: str) -> None:
        if self._stdin.is_closing():
            raise ConnectionClosed(await self._reason())
        try:
            self._stdin.write(text.encode() + b"\n")
            await self._stdin.drain()
        except (OSError, RuntimeError) as error:
            raise ConnectionClosed(await self._reason()) from error

    async def receive(self) -> str:
        while True:
            try:
                line = await self._stdout.readline()
            except ValueError:
                logger.warning("codex app-server: a line over %d bytes is dropped", MAX_LINE_BYTES)
                continue
            except OSError:
                line = b""
            if not line:
                raise ConnectionClosed(await self._reason())
            if line.strip():
                return line.decode(errors="replace")

    async def aclose(self) -> None:
        """Stop the process and its group, within about ten seconds. It goes on when the caller is
        cancelled; cancelled itself, it kills at once."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def end(self) -> None:
        await self.aclose()

    async def _stop(self) -> None:
        try:
            self._stdin.close()
            if not await self._exits_within(CLOSE_WAIT_SEC):
                self._signal_group(terminate=True)
                await self._exits_within(TERM_WAIT_SEC)
        finally:
            # Also after a clean exit: a wrapper's child may have outlived its parent.
            self._signal_group(terminate=False)
        await self._exits_within(KILL_WAIT_SEC)
        await asyncio.wait([self._drain], timeout=LAST_WORDS_SEC)
        self._drain.cancel()
        self._transport.close()

    async def _exits_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), seconds)
        return self._exited.is_set()

    def _signal_group(self, terminate: bool) -> None:
        # ProcessLookupError: nobody is left, which is what we want.
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                self._transport.kill()
            else:
                os.killpg(self.pid, signal.SIGTERM if terminate else signal.SIGKILL)

    async def _reason(self) -> str:
        if self._stopping is not None:
            return "codex app-server session closed"
        await self._exits_within(CLOSE_WAIT_SEC)
        await asyncio.wait([self._drain], timeout=LAST_WORDS_SEC)
        code = self._transport.get_returncode()
        how = "closed its output" if code is None else how_it_ended(code)
        return f"codex app-server exited unexpectedly ({how})"

    async def _drain_stderr(self) -> None:
        while True:
            try:
                line = await self._stderr.readline()
            except ValueError:
                continue
            if not line:
                return
            text = plain(line)
            self.last_words.append(text)
            logger.info("codex app-server: %s", text)
            if self._debug:
                show(text)


def how_it_ended(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


def environment(settings: Settings) -> dict[str, str]:
    """Ours, without the hub's own settings: commands of the model see this environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return {**inherited, "CODEX_HOME": str(settings.codex_home)}


def _own_group() -> dict[str, Any]:
    if sys.platform == "win32":
        # Detached: the console's Ctrl+C is for the hub.
        return {"creationflags": subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}
