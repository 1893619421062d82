"""Clients that take their time: to send, or to read. The hub bounds how long, and how much it keeps for them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.hub import HubProcess, Hubs
from tests.support.processes import wait_until
from tests.support.wire import PARSERS, request, wire

SLOW_SEC = 1
TEXT = "x" * 900_000
MESSAGES = 20


@pytest.fixture(scope="module", params=PARSERS)
def strict_hub(request: pytest.FixtureRequest) -> Iterator[HubProcess]:
    """A hub without patience, on each parser."""
    hubs = Hubs()
    yield hubs(slow_client_sec=SLOW_SEC, command=PARSERS[request.param])
    hubs.end()


JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"


def test_a_request_that_does_not_arrive_is_cut_off(strict_hub: HubProcess) -> None:
    post = "POST /api/messages HTTP/1.1"
    halves = {
        "head": request(strict_hub).removesuffix(b"\r\n"),
        "body": request(strict_hub, JSON, "Content-Length: 9", first=post, body=b"{"),
        "chunks": request(strict_hub, JSON, "Transfer-Encoding: chunked", first=post, body=b"1\r\n{\r\n"),
        "form": request(
            strict_hub, FORM, f"Origin: {strict_hub.url}", "Content-Length: 9", first="POST / HTTP/1.1", body=b"a"
        ),
        "MCP": request(strict_hub, JSON, "Content-Length: 9", first="POST /mcp HTTP/1.1", body=b"{"),
    }
    with ExitStack() as stack:
        connections = {name: stack.enter_context(wire(strict_hub)) for name in halves}
        for name, connection in connections.items():
            connection.send(halves[name])
        for name, connection in connections.items():
            answer = connection.answer()
            assert (answer.status, answer.json["details"]) == (408, {"setting": "slow_client_sec"}), name
            assert "slow_client_sec" in answer.json["error"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert connection.ends()
    assert "Traceback" not in strict_hub.log


def test_whoever_sends_on_after_the_answer_is_cut_off_without_another(strict_hub: HubProcess) -> None:
    with wire(strict_hub) as connection:
        connection.send(request(strict_hub, "Content-Length: 9", first="POST /nope HTTP/1.1", body=b"{"))
        assert connection.answer().status == 404
        assert connection.ends()


def test_one_byte_now_and_then_does_not_help(strict_hub: HubProcess) -> None:
    with wire(strict_hub) as connection:
        connection.send(request(strict_hub).removesuffix(b"\r\n"))
        connection.socket.settimeout(0.05)

        def is_cut_off() -> bool:
            try:
                connection.send(b"X: y\r\n")
                return bool(connection.socket.recv(100))
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        wait_until(is_cut_off, "the hub listened on")


def test_a_connection_that_never_asks_is_closed(strict_hub: HubProcess) -> None:
    with wire(strict_hub) as connection:
        assert connection.ends()


def test_a_stream_lasts_longer_than_any_request(strict_hub: HubProcess) -> None:
    with wire(strict_hub) as slow, wire(strict_hub) as stream:
        stream.send(request(strict_hub, first="GET /api/events HTTP/1.1"))
        assert stream.answer().status == 200
        slow.send(b"GET")
        assert slow.answer().status == 408
        posted = strict_hub.client.post("/api/messages", json={"target": "c", "sender": "s", "text": "still there"})
        assert posted.status_code == 201
        received = b""
        while b"still there" not in received:
            received += stream.socket.recv(1000)


def test_an_answer_that_nobody_reads_is_not_kept(strict_hub: HubProcess, channel: str) -> None:
    for _ in range(MESSAGES):
        strict_hub.client.post("/api/messages", json={"target": channel, "sender": "s", "text": TEXT})
    whole = len(strict_hub.client.get("/api/messages", params={"target": channel}).content)
    first = f"GET /api/messages?target={channel} HTTP/1.1"
    with wire(strict_hub, receive_bytes=4096) as reader:
        reader.send(request(strict_hub, first=first))
        wait_until(lambda: not is_connected(strict_hub, reader.socket), "the hub kept the answer", timeout=30)
        received = 0
        try:
            while data := reader.socket.recv(1 << 20):
                received += len(data)
        except ConnectionError:
            pass
        assert received < whole


def is_connected(hub: HubProcess, client: socket.socket) -> bool:
    """Whether the hub's own end of a connection is open, as Linux tells it."""
    ours, theirs = client.getsockname()[1], hub.port
    wanted = f":{theirs:04X} 0100007F:{ours:04X} 01 "
    return wanted in Path("/proc/net/tcp").read_text()
