"""How clients reach the scripted app-server: one over standard streams, or many over a unix socket."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

    from tests.fakes.app_server import Server

MAX_BYTES = 64 * 1024 * 1024


@dataclass(eq=False)
class Client:
    """One connection."""

    write: Callable[[str], None]
    log: Callable[[dict[str, Any]], None]
    greeted: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, message: dict[str, Any]) -> None:
        self.log({"out": message})
        # One that has just gone misses it.
        with self._lock, contextlib.suppress(OSError, EOFError):
            self.write(json.dumps(message))


@dataclass(frozen=True)
class Caller:
    """Who asked, and under which id."""

    client: Client
    id: Any

    def answer(self, result: dict[str, Any]) -> None:
        self.client.send({"id": self.id, "result": result})


def serve(server: "Server", arguments: list[str]) -> None:
    """Until the one client over standard streams has gone, or SIGTERM came and all turns have ended."""
    if "--listen" in arguments:
        address = arguments[arguments.index("--listen") + 1]
        _serve_socket(server, Path(address.removeprefix("unix://")))
    else:
        _serve_stdio(server)


def _serve_stdio(server: "Server") -> None:
    def write(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    client = Client(write, server.log)
    server.clients.add(client)
    for line in sys.stdin:
        server.take(client, line)


def _serve_socket(server: "Server", path: Path) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import unix_serve

    def handle(connection: "ServerConnection") -> None:
        def write(text: str) -> None:
            with contextlib.suppress(ConnectionClosed):
                connection.send(text)

        client = Client(write, server.log)
        server.clients.add(client)
        try:
            with contextlib.suppress(ConnectionClosed):
                for text in connection:
                    server.take(client, str(text))
        finally:
            server.leave(client)

    # Before there are threads, so that all of them leave the signal to the one that waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # Two that start together must not both take the socket for a stale one.
    with (server.folder / "listen").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _claim(path)
        os.umask(0o177)
        listener = unix_serve(handle, str(path), compression=None, max_size=MAX_BYTES)
        os.umask(0o022)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    server.draining.set()
    server.log({"draining": True})
    while server.active:
        time.sleep(0.01)
    path.unlink()


def _claim(path: Path) -> None:
    """Remove a stale socket; end where a living server has it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink()
            return
    sys.stderr.write(f"Error: app-server control socket is already in use at {path}\n")
    sys.exit(1)
