"""Input that nobody means well with, requests that no client would send, and the measure of what a hub holds."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.hub import HubProcess
from tests.support.processes import wait_until

POOLED = 16
"""Open files that a hub may add in its life: connections to its database come as they are needed."""
PATIENCE_SEC = 20
"""What takes longer counts as hanging."""

NASTY_TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "\u2028",
    "\x1b[31m",
    "\r\nX: y",
    "../../etc/passwd",
    "' OR 1=1 --",
    "%00",
    "%s%n{0}",
    "<script>",
    "NaN",
    "-1",
    "1e999",
    "9" * 400,
    "ß" * 5000,
)
NASTY = (
    *NASTY_TEXTS,
    None,
    True,
    False,
    0,
    -1,
    1.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    [],
    {},
    [[]],
    {"": ""},
    ["a", 1],
    {"a": {"b": [None]}},
)

nasty = st.sampled_from(NASTY)
text = st.one_of(st.sampled_from(NASTY_TEXTS), st.text(st.characters(), max_size=40))
anything = st.recursive(
    st.one_of(nasty, text, st.integers(), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=8,
)
"""Any JSON, and what Python's encoder makes of NaN and of half a surrogate pair."""


def examples(count: int) -> settings:
    """So many examples, the same ones in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Headers = Sequence[tuple[str | bytes, str | bytes]]


def send(
    hub: HubProcess, method: str, path: str, headers: Headers = (), body: bytes = b"", missing: int = 0
) -> Answer | None:
    """One request on a connection of its own, byte for byte as given. `missing` bytes of the body are announced and
    never sent. None: the hub closed without an answer, as it may where half a request came."""
    lines: list[bytes] = [f"{method} {path} HTTP/1.1".encode(), f"Host: 127.0.0.1:{hub.port}".encode()]
    lines += [_bytes(name) + b": " + _bytes(value) for name, value in headers]
    lines += [f"Content-Length: {len(body) + missing}".encode(), b"Connection: close", b"", b""]
    with socket.create_connection(("127.0.0.1", hub.port), PATIENCE_SEC) as connection:
        # A hub that refuses early does not read what follows.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"\r\n".join(lines) + body)
            if missing:
                connection.shutdown(socket.SHUT_WR)
        return _answer(connection)


def _answer(connection: socket.socket) -> Answer | None:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    if not received:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    if headers.get("transfer-encoding") == "chunked":
        body = _joined(body)
    return Answer(int(first.split()[1]), headers, body)


def _joined(chunked: bytes) -> bytes:
    body = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        length = int(size, 16)
        body, chunked = body + rest[:length], rest[length + 2 :]
    return body


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@contextlib.contextmanager
def unharmed(hub: HubProcess) -> Iterator[None]:
    """Insists that what happens inside leaves the hub as it was: it answers, it has met nothing that it did not
    foresee, and it holds no more connections, files and threads than before."""
    assert hub.client.get("/api/channels").status_code == 200
    before, said = held(hub.pid), len(hub.log)
    yield
    assert hub.client.get("/healthz").text == "ok"
    log = hub.log[said:]
    assert "Traceback" not in log, log[-4000:]
    if before:
        wait_until(
            lambda: held(hub.pid)["sockets"] <= before["sockets"],
            f"the hub keeps connections: {before} before, {held(hub.pid)} now; not closed",
        )
        now = held(hub.pid)
        assert now["files"] <= before["files"] + POOLED
        assert now["threads"] <= before["threads"] + POOLED


def held(pid: int) -> Mapping[str, int]:
    """What a process has open; empty where the system has no /proc."""
    folder = Path(f"/proc/{pid}")
    targets = []
    if not folder.is_dir():
        return {}
    for entry in (folder / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(entry.readlink()))
    sockets = sum(target.startswith("socket:") for target in targets)
    threads = sum(1 for _ in (folder / "task").iterdir())
    return {"sockets": sockets, "files": len(targets) - sockets, "threads": threads}
