"""HTTP by hand: requests that no client library would send, and clients that take their time."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.hub import HubProcess

PATIENCE_SEC = 30
WITHOUT_HTTPTOOLS = "import sys; sys.modules['httptools'] = None; from app.__main__ import main; sys.exit(main())"
PARSERS: dict[str, tuple[str, ...]] = {
    "httptools": (sys.executable, "-m", "app"),
    "h11": (sys.executable, "-c", WITHOUT_HTTPTOOLS),
}
"""Commands of a hub by the parser that it reads HTTP with: not every Python has the compiled one."""


@dataclass(frozen=True)
class Answer:
    """What a hub said, up to the end of one answer or of the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Wire:
    """One connection."""

    def __init__(self, hub: HubProcess, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_SEC)
        self.socket.connect(("127.0.0.1", hub.port))
        self._received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ends(self) -> bool:
        """Whether the hub closes the connection, by whatever means, without another word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def answer(self, has_body: bool = True) -> Answer:
        """The next answer; one to HEAD has no body."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, rest = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0)) if has_body else 0
        while len(rest) < length:
            self._more()
            rest = self._received.partition(b"\r\n\r\n")[2]
        self._received = rest[length:]
        return Answer(int(first.split()[1]), headers, rest[:length])

    def _more(self) -> None:
        data = self.socket.recv(65536)
        assert data, f"the hub closed the connection after {self._received!r}"
        self._received += data


@contextmanager
def wire(hub: HubProcess, receive_bytes: int = 0) -> Iterator[Wire]:
    """A connection to a hub; `receive_bytes` makes the client's buffer small."""
    connection = Wire(hub, receive_bytes)
    with connection.socket:
        yield connection


def request(hub: HubProcess, *lines: str, first: str = "GET /healthz HTTP/1.1", body: bytes = b"") -> bytes:
    """A request by its first line and headers; without a `Host` among them it gets the right one."""
    if not any(line.lower().startswith("host:") for line in lines):
        lines = (f"Host: 127.0.0.1:{hub.port}", *lines)
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1") + body


def ask(hub: HubProcess, *lines: str, first: str = "GET /healthz HTTP/1.1", body: bytes = b"") -> Answer:
    """The answer to one such request."""
    with wire(hub) as connection:
        connection.send(request(hub, *lines, first=first, body=body))
        return connection.answer(has_body=not first.startswith("HEAD"))
