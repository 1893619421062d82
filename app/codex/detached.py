"""An app-server that outlives the hub: a process of its own, spoken to over a unix socket.

A hub that is killed leaves it working. Who comes next attaches to it, by the same path.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from app.codex.jsonrpc import ConnectionClosed
from app.codex.output import Output
from app.codex.process import MAX_LINE_BYTES, environment, how_it_ended
from app.errors import AppServerUnavailable
from app.settings import Settings

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

logger = logging.getLogger("relay_hub.codex")

NOBODY_LISTENS = (FileNotFoundError, ConnectionRefusedError)
CONNECT_SEC = 5.0
CLOSE_SEC = 1.0
EXIT_WAIT_SEC = 3.0
"""Between the end of a connection and that of the process which caused it."""
TERM_WAIT_SEC = 5.0
KILL_WAIT_SEC = 5.0
LOOK_SEC = 0.01

_SOL_LOCAL, _LOCAL_PEERPID = 0, 2  # of macOS; Python does not name them


class Child:
    """A process that was started here, in a session of its own. Unlike one of asyncio, it is not killed
    when it is forgotten."""

    def __init__(self, argv: list[str], settings: Settings, output: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the user's own settings name the program
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(settings),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        # A thread of the loop's own pool would hold up the end of the hub.
        threading.Thread(target=self._wait, args=(loop,), name=f"codex-{self.pid}", daemon=True).start()

    @property
    def how_it_ended(self) -> str:
        code = self._process.returncode
        return how_it_ended(code) if code is not None else "ended"

    def kill_group(self) -> None:
        kill_group(self.pid)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.wait()
        # RuntimeError: the loop has ended before the process.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self.exited.set)


class DetachedAppServer:
    """A connection to such an app-server; a jsonrpc.Transport with one JSON text per WebSocket frame."""

    def __init__(self, connection: "ClientConnection", pid: int, path: Path, output: Output) -> None:
        self._connection = connection
        self._output = output
        self._child: Child | None = None
        self._closing = False
        self.pid = pid
        """Of the process that listens; 0 where it cannot be told."""
        self.path: Path | None = path
        self.attached = True
        """Whether somebody else had started it."""

    @classmethod
    async def attach(cls, path: Path, settings: Settings) -> "DetachedAppServer":
        """Connect to the one that listens at the path.

        Raises:
            FileNotFoundError, ConnectionRefusedError: nobody listens there.
            AppServerUnavailable: it does not answer, or not in the right way.
        """
        # Late, because importing it takes a good part of the hub's start.
        from websockets.asyncio.client import unix_connect
        from websockets.exceptions import WebSocketException

        try:
            peer = await _connected(path)
            connection = await unix_connect(
                uri="ws://localhost/",
                sock=peer,
                compression=None,
                max_size=MAX_LINE_BYTES,
                open_timeout=CONNECT_SEC,
                close_timeout=CLOSE_SEC,
                # The end of the process closes the socket; one that is only slow is waited for.
                ping_interval=None,
            )
        except NOBODY_LISTENS:
            raise
        except (OSError, WebSocketException) as error:
            reason = f"no app-server answers at {path}: {str(error) or type(error).__name__}"
            raise AppServerUnavailable(f"Failed to attach to codex app-server: {reason}", cause=reason) from error
        return cls(connection, peer_pid(peer), path, Output(settings))

    def adopt(self, child: Child, output: Output) -> None:
        """Say how the child ended when it ends, provided that it is the one that listens."""
        if self.pid and _group(self.pid) == child.pid:
            self._child = child
            self._output = output
            self.attached = False

    def follow_output(self) -> None:
        self._output.follow()

    @property
    def last_words(self) -> list[str]:
        return self._output.last_words()

    async def send(self, text: str) -> None:
        from websockets.exceptions import ConnectionClosed as Closed

        try:
            await self._connection.send(text)
        except Closed as error:
            raise ConnectionClosed(await self._reason()) from error

    async def receive(self) -> str:
        from websockets.exceptions import ConnectionClosed as Closed

        try:
            return await self._connection.recv(decode=True)
        except Closed as error:
            raise ConnectionClosed(await self._reason()) from error

    async def aclose(self) -> None:
        """Leave it. Of one that has ended by itself, end what is left of its group."""
        self._closing = True
        await self._connection.close()
        await self._output.aclose()
        if self._child is not None and self._child.exited.is_set():
            self._child.kill_group()

    async def end(self) -> None:
        """End the process, within about ten seconds: it may finish its turns for half of that."""
        await end_process(self.pid)

    async def _reason(self) -> str:
        if self._closing:
            return "codex app-server session closed"
        how = "ended"
        if self._child is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.exited.wait(), EXIT_WAIT_SEC)
            how = self._child.how_it_ended
        if not await gone(self.pid, EXIT_WAIT_SEC):
            return "codex app-server closed the connection"
        return f"codex app-server exited unexpectedly ({how})"


async def end_process(pid: int) -> None:
    """SIGTERM, on which an app-server finishes its turns and removes its socket; then SIGKILL for its group."""
    group = _group(pid)
    if group is None:
        return
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM)
    try:
        await gone(pid, TERM_WAIT_SEC)
    finally:
        # Also after a clean exit: a wrapper or a child may have outlived it.
        kill_group(group)
    await gone(pid, KILL_WAIT_SEC)


async def gone(pid: int, seconds: float) -> bool:
    """Whether the process ends within the time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while _group(pid) is not None:  # noqa: ASYNC110 - not our child, so nobody tells
                await asyncio.sleep(LOOK_SEC)
    return _group(pid) is None


def kill_group(group: int) -> None:
    # OSError: nobody is left, which is what we want.
    with contextlib.suppress(OSError):
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)


def _group(pid: int) -> int | None:
    """The process group; None where the process is not there. To the system, pid 0 would be ourselves."""
    with contextlib.suppress(OSError):
        return os.getpgid(pid) if pid > 0 else None
    return None


async def _connected(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    try:
        peer.setblocking(False)
        async with asyncio.timeout(CONNECT_SEC):
            await asyncio.get_running_loop().sock_connect(peer, str(path))
    except BaseException:
        peer.close()
        raise
    return peer


def peer_pid(peer: socket.socket) -> int:
    """Who listens; unlike a file with a number, this is never about a process of long ago."""
    if sys.platform == "linux":
        return int(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
    else:  # noqa: RET505 - so that mypy sees the platform's own branch
        with contextlib.suppress(OSError):
            return int(struct.unpack("i", peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))[0])
        return 0
