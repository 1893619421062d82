"""Getting an app-server: attach to the one that lives, or start it."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from app.codex.address import listening
from app.codex.detached import NOBODY_LISTENS, Child, DetachedAppServer
from app.codex.jsonrpc import Transport
from app.codex.output import Output
from app.codex.process import AppServerProcess
from app.codex.program import INSTALL_HINT
from app.errors import AppServerUnavailable
from app.settings import Settings

logger = logging.getLogger("relay_hub.codex")

LOOK_SEC = 0.01


class AppServer(Transport, Protocol):
    """A running app-server, whichever way it is spoken to."""

    @property
    def pid(self) -> int: ...

    @property
    def path(self) -> Path | None:
        """Its socket; None where it ends with us."""

    @property
    def attached(self) -> bool:
        """Whether somebody else had started it."""

    @property
    def last_words(self) -> Sequence[str]:
        """The newest lines of its output, for whoever explains a failed start."""

    async def end(self) -> None:
        """End the process and its group, within about ten seconds."""


async def open_transport(settings: Settings) -> AppServer:
    """The app-server for these settings.

    Raises:
        AppServerUnavailable: it cannot be found, started or spoken to.
    """
    argv, path = listening(settings)
    if path is None:
        return await AppServerProcess.spawn(settings)
    try:
        server = await DetachedAppServer.attach(path, settings)
    except NOBODY_LISTENS:
        if not _can_listen(path):
            logger.warning("no socket can be made in %s: the codex app-server will end with the hub", path.parent)
            return await AppServerProcess.spawn(settings)
        server = await _spawn(argv, path, settings)
    server.follow_output()
    return server


async def _spawn(argv: list[str], path: Path, settings: Settings) -> DetachedAppServer:
    output = Output(settings)
    try:
        settings.codex_home.mkdir(parents=True, exist_ok=True)
        file = output.open()
        try:
            child = Child(argv, settings, file)
        finally:
            os.close(file)
    except OSError as error:
        raise _failed(str(error), output) from error
    try:
        async with asyncio.timeout(settings.codex_request_timeout_ms / 1000):
            server = await _listens(child, path, settings)
    except BaseException as error:
        child.kill_group()
        if isinstance(error, NOBODY_LISTENS):
            raise _failed(f"codex app-server exited unexpectedly ({child.how_it_ended})", output) from error
        if isinstance(error, TimeoutError):
            raise _failed("it does not listen", output) from error
        raise
    server.adopt(child, output)
    return server


async def _listens(child: Child, path: Path, settings: Settings) -> DetachedAppServer:
    """Attach as soon as somebody listens. This may be another hub's child that was faster; ours then exits."""
    while True:
        exited = child.exited.is_set()
        try:
            return await DetachedAppServer.attach(path, settings)
        except NOBODY_LISTENS:
            if exited:
                raise
        await asyncio.sleep(LOOK_SEC)


def _can_listen(path: Path) -> bool:
    """Whether the folder's file system takes sockets; many that are shared with another machine do not."""
    attempt = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.bind(str(attempt))
        attempt.unlink(missing_ok=True)
        return True
    return False


def _failed(reason: str, output: Output) -> AppServerUnavailable:
    message = f"Failed to start codex app-server: {reason}. {INSTALL_HINT}"
    return AppServerUnavailable(message, cause=reason, stderr=output.last_words())
