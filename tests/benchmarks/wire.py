"""HTTP as the bench speaks it: requests are encoded once, answers are looked at no more than is needed."""

import json
import re
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

HOST = "127.0.0.1"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TIMEOUT_SEC = 30


class Answer(NamedTuple):
    """One complete answer. `head` and `body` are as they came: a chunked body still has its chunk marks."""

    status: int
    head: bytes
    body: bytes


def get(path: str, **headers: str) -> str:
    """A GET request; underscores in the names of headers stand for hyphens."""
    return _head("GET", path, headers) + "\r\n"


def post(path: str, body: Mapping[str, Any], **headers: str) -> str:
    """A POST request with a JSON body."""
    text = json.dumps(body, separators=(",", ":"))
    headers |= {"Content_Type": "application/json", "Content_Length": str(len(text))}
    return _head("POST", path, headers) + "\r\n" + text


def _head(method: str, path: str, headers: Mapping[str, str]) -> str:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOST}", *lines, ""])


def parse(data: bytes) -> Answer | None:
    """The answer in `data`, or None while a part of it is missing. For connections with one request at a time."""
    head, gap, body = data.partition(b"\r\n\r\n")
    if not gap:
        return None
    if length := _LENGTH.search(head):
        complete = len(body) >= int(length[1])
    else:
        # Chunked: nothing can follow the empty chunk, so it is enough to look at the end.
        complete = body.endswith(b"\r\n0\r\n\r\n") or body == b"0\r\n\r\n"
    return Answer(int(head[9:12]), head, body) if complete else None


class Client:
    """One kept connection, blocking: for the few requests that are not load."""

    def __init__(self, port: int) -> None:
        """
        Raises:
            OSError: nobody listens there.
        """
        self._socket = socket.create_connection((HOST, port), _TIMEOUT_SEC)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: str) -> Answer:
        """Send a request and return its answer.

        Raises:
            AssertionError: the answer is not a success.
        """
        self._socket.sendall(request.encode())
        data = b""
        while (answer := parse(data)) is None:
            more = self._socket.recv(1 << 16)
            assert more, f"the server closed the connection after {data[:500]!r}"
            data += more
        assert 200 <= answer.status < 300, f"answer {answer.status}: {answer.body[:300]!r}"
        return answer
