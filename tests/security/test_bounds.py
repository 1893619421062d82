"""Bounds on heads, requests in a minute, streams and MCP sessions, each with an error that names its setting."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until
from tests.support.wire import PARSERS, Wire, ask, request, wire

MOST_HEAD = 8192
MOST_STREAMS = 4
MOST_SESSIONS = 3
JSON = "Content-Type: application/json"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
MCP_HEADERS = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module", params=PARSERS)
def small_head_hub(request: pytest.FixtureRequest) -> Iterator[HubProcess]:
    """A hub that takes small heads alone, on each parser."""
    hubs = Hubs()
    yield hubs(max_header_bytes=MOST_HEAD, command=PARSERS[request.param])
    hubs.end()


@pytest.fixture(scope="module")
def tight_hub() -> Iterator[HubProcess]:
    """A hub with room for few."""
    hubs = Hubs()
    yield hubs(max_streams=MOST_STREAMS, max_mcp_sessions=MOST_SESSIONS)
    hubs.end()


HEADS = {
    "one header": [f"X: {'a' * 30_000}"],
    "one header that fills many packets": [f"X: {'a' * 3_000_000}"],
    "many headers": [f"X-{number}: {'a' * 100}" for number in range(1000)],
    "cookies": [f"Cookie: {'; '.join(f'relay_session={number}' for number in range(5000))}"],
}


@pytest.mark.parametrize("head", HEADS)
def test_a_head_that_is_too_large_is_refused(small_head_hub: HubProcess, head: str) -> None:
    answer = ask(small_head_hub, *HEADS[head])
    assert (answer.status, answer.json["details"]) == (431, {"setting": "max_header_bytes"})
    assert f"max_header_bytes allows ({MOST_HEAD} bytes)" in answer.json["error"]
    assert answer.headers["content-type"] == "application/json"
    assert "frame-ancestors" in answer.headers["content-security-policy"]


def test_a_path_or_query_that_is_too_large_is_refused(small_head_hub: HubProcess) -> None:
    for target in (f"/{'a' * 30_000}", f"/api/messages?target={'a' * 30_000}"):
        assert ask(small_head_hub, first=f"GET {target} HTTP/1.1").status == 431


def test_a_head_within_the_bound_is_taken_in_whatever_pieces_it_comes(small_head_hub: HubProcess) -> None:
    whole = request(small_head_hub, f"X: {'a' * (MOST_HEAD - 1000)}")
    with wire(small_head_hub) as connection:
        for start in range(0, len(whole), 1000):
            connection.send(whole[start : start + 1000])
        assert connection.answer().status == 200


def test_many_requests_at_once_are_not_one_large_head(small_head_hub: HubProcess) -> None:
    with wire(small_head_hub) as connection:
        connection.send(request(small_head_hub) * 1000)
        assert {connection.answer().status for _ in range(1000)} == {200}


def test_headers_after_a_body_neither_count_nor_grow(small_head_hub: HubProcess, channel: str) -> None:
    post = "POST /api/messages HTTP/1.1"
    body = json.dumps({"target": channel, "sender": "s", "text": "t"}).encode()
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    lines = JSON, "Transfer-Encoding: chunked"
    small = ask(small_head_hub, *lines, first=post, body=chunk + b"Idempotency-Key: late\r\nHost: evil\r\n\r\n")
    assert small.status == 201
    again = ask(small_head_hub, *lines, first=post, body=chunk + b"Idempotency-Key: late\r\n\r\n")
    assert again.json["posted"] > small.json["posted"]

    with wire(small_head_hub) as connection:
        connection.send(request(small_head_hub, *lines, first=post, body=chunk))
        try:
            for number in range(10_000):
                connection.send(b"X-%d: %b\r\n" % (number, b"a" * 1000))
        except ConnectionError:
            return
        assert connection.answer().status == 431


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        ("POST /api/messages HTTP/1.1", [JSON, "Content-Length: 3", "Transfer-Encoding: chunked"]),
        ("POST /api/messages HTTP/1.1", [JSON, "Transfer-Encoding: chunked", "Content-Length: 3"]),
        ("POST /api/messages HTTP/1.1", [JSON, "Content-Length: 3", "Content-Length: 4"]),
        ("POST /api/messages HTTP/1.1", [JSON, "Content-Length: -1"]),
        ("POST /api/messages HTTP/1.1", [JSON, f"Content-Length: {'9' * 50}"]),
        ("POST /api/messages HTTP/1.1", [JSON, f"Content-Length: {'9' * 5000}"]),
        ("POST /api/messages HTTP/1.1", [JSON, JSON, "Content-Length: 0"]),
        ("GET /healthz HTTP/1.1", ["Host: 127.0.0.1", "Host: 127.0.0.1"]),
        ("GET /healthz HTTP/1.1", ["Authorization: Bearer a", "Authorization: Bearer b"]),
        ("GET http://127.0.0.1/healthz HTTP/1.1", []),
        ("GET http://evil.example/healthz HTTP/1.1", []),
        ("GET healthz HTTP/1.1", []),
        ("OPTIONS * HTTP/1.1", []),
        ("CONNECT evil.example:80 HTTP/1.1", []),
        ("GET /a b HTTP/1.1", []),
        ("GET /\xff HTTP/1.1", []),
        ("G\x00T /healthz HTTP/1.1", []),
        ("GET /healthz HTTP/1.1", ["X: a\x00b"]),
        ("GET /healthz HTTP/1.1", ["X : a"]),
        ("GET /healthz HTTP/1.1", ["\xff: a"]),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(
    small_head_hub: HubProcess, first: str, lines: list[str]
) -> None:
    answer = ask(small_head_hub, *lines, first=first)
    assert answer.status in (400, 413)
    assert answer.json["ok"] is False
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask(small_head_hub).status == 200


@pytest.mark.parametrize(
    "header", ["X", "User-Agent", "Accept", "Cookie", "Referer", "Last-Event-ID", "Accept-Language"]
)
def test_odd_values_of_headers_are_no_error_of_the_hub(shared_hub: HubProcess, header: str) -> None:
    for value in ("\xff\xfe", "\x1b[31m", "\xe2\x80\xae", "a" * 20_000, ";;;=\t,", "\\u0000%00%0d%0aX: y"):
        for route in ("/", "/api/events?last_event_id=x", "/live/channels/c", "/api/messages", "/mcp"):
            answer = ask(shared_hub, f"{header}: {value}", first=f"GET {route} HTTP/1.1")
            assert answer.status < 500, (header, value, route)


@pytest.mark.parametrize(
    "target",
    [
        "/%00",
        "/static/%00",
        "/static/../app/main.py",
        "/static/%2e%2e/app/main.py",
        "/static/..%5capp",
        "/static//etc/passwd",
        f"/static/{'a' * 5000}",
        "/channels/%00",
        "/channels/%0d%0aX:%20y",
        "/channels/%ff%fe",
        "/channels/%ed%a0%80",
        f"/channels/{'%F0%9F%98%80' * 500}",
        "/channels/..%2f..%2f",
        "//evil.example/",
        "//",
        "/dispatches/%00",
        "/dispatches/%ff",
        f"/dispatches/{'a' * 20_000}",
        "/api/dispatches/%00",
        "/api/messages/%00",
        f"/api/messages/{'9' * 5000}",
        "/api/messages?target=%00",
        "/api/messages?target=%ff%fe%ed%a0%80",
        f"/api/messages?since_id={'9' * 5000}",
        f"/api/messages?before_id=-{'9' * 30}",
        "/api/messages?limit=1e999",
        "/api/messages?wait=nan",
        "/api/messages?wait=inf&wait=-1",
        f"/api/messages?{'&' * 20_000}",
        "/api/messages/search?q=%00",
        "/api/messages/search?q=%22%22*%22NEAR(",
        "/api/events?last_event_id=99999999999999999999999",
        "/api/dispatches?cursor=%F0%9D%9F%99",
        "/api/dispatches?status=%00",
        "/search?q=%00&target=%ff",
        "/dispatches?before=%00",
        "/?channel=%00%0a",
        "/live/channels/%00",
        "/live/dispatches/%00",
        "/mcp?%00=%ff",
        "/.well-known/%00",
        "/login?next=//evil.example/%0d%0aX:y",
    ],
)
def test_no_path_and_no_query_is_an_error_of_the_hub(shared_hub: HubProcess, target: str) -> None:
    for accept in ("*/*", "text/html"):
        answer = ask(shared_hub, f"Accept: {accept}", first=f"GET {target} HTTP/1.1")
        assert answer.status < 500
        assert "evil.example" not in answer.headers.get("location", "")


def test_requests_of_one_caller_in_a_minute_are_bounded(hub: Hubs) -> None:
    running = hub(max_requests_per_minute=5)
    answers = [running.client.get("/healthz") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert refused.json()["details"]["setting"] == "max_requests_per_minute"
    assert "max_requests_per_minute" in refused.json()["error"]
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    assert "default-src 'none'" in refused.headers["content-security-policy"]
    body = {"target": "c", "sender": "s", "text": "t"}
    assert running.client.post("/api/messages", json=body).status_code == 429
    assert running.client.post("/mcp", json=INITIALIZE, headers=MCP_HEADERS).status_code == 429


def stream(hub: HubProcess, stack: ExitStack, target: str) -> Wire:
    """Ask for what does not end by itself."""
    connection = stack.enter_context(wire(hub))
    connection.send(request(hub, first=f"GET {target} HTTP/1.1"))
    return connection


def opened(hub: HubProcess, stack: ExitStack, target: str) -> None:
    """One that stays open, as soon as those of an earlier test have ended."""

    def is_open() -> bool:
        return stream(hub, stack, target).answer().status == 200

    wait_until(is_open, "no stream is free")


@pytest.mark.parametrize(
    "target",
    ["/live/channels/c", "/live/dispatches", "/api/events", "/api/messages?target=quiet&wait=60"],
)
def test_streams_and_long_polls_are_bounded(tight_hub: HubProcess, target: str) -> None:
    with ExitStack() as stack:
        for kind in ("/live/channels/c", "/live/dispatches", "/api/events", "/api/events"):
            opened(tight_hub, stack, kind)
        refused = stream(tight_hub, stack, target).answer()
        assert (refused.status, refused.json["code"]) == (429, "rate_limited")
        assert refused.json["details"]["setting"] == "max_streams"
        assert "max_streams" in refused.json["error"]
        assert int(refused.headers["retry-after"]) > 0
        assert tight_hub.client.get("/api/messages").status_code == 200

    def is_free() -> bool:
        with ExitStack() as stack:
            answers = [stream(tight_hub, stack, "/api/events").answer() for _ in range(MOST_STREAMS)]
            return all(answer.status == 200 for answer in answers)

    wait_until(is_free, "streams that were left still count")


@pytest.mark.anyio
async def test_waits_inside_mcp_calls_are_bounded_and_posts_are_not(tight_hub: HubProcess, channel: str) -> None:
    with ExitStack() as stack:
        for _ in range(MOST_STREAMS):
            opened(tight_hub, stack, "/api/events")
        async with agent(tight_hub) as claude:
            error = await claude.fail("wait_for_messages", target=channel, reader="claude", timeout_sec=5)
            assert (error["relayCode"], error["setting"], error["retryable"]) == ("rate_limited", "max_streams", True)
            assert (await claude.call("post_message", target=channel, sender="claude", text="t"))["ok"]


def test_a_long_poll_counts_while_it_waits(hub: Hubs, channel: str) -> None:
    running = hub(max_streams=MOST_STREAMS)
    with ExitStack() as stack:
        # First, so that no question of ours takes its place.
        poll = stream(running, stack, f"/api/messages?target={channel}&wait=60")
        for _ in range(MOST_STREAMS - 1):
            opened(running, stack, "/api/events")
        shortest = "GET /api/messages?wait=0.01 HTTP/1.1"
        wait_until(lambda: ask(running, first=shortest).status == 429, "it never counted")
        message = {"target": channel, "sender": "s", "text": "the news"}
        assert running.client.post("/api/messages", json=message).status_code == 201
        assert b"the news" in poll.answer().body


def test_mcp_sessions_are_bounded(tight_hub: HubProcess) -> None:
    def begin() -> httpx.Response:
        return tight_hub.client.post("/mcp", json=INITIALIZE, headers=MCP_HEADERS)

    begun = [begin() for _ in range(MOST_SESSIONS)]
    assert [answer.status_code for answer in begun] == [200] * MOST_SESSIONS
    refused = begin()
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.json()["details"]["setting"] == "max_mcp_sessions"
    assert "max_mcp_sessions" in refused.json()["error"]
    assert int(refused.headers["retry-after"]) > 0
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    for answer in begun:
        session = {**MCP_HEADERS, "Mcp-Session-Id": answer.headers["mcp-session-id"]}
        assert tight_hub.client.post("/mcp", json=listing, headers=session).status_code == 200
        assert tight_hub.client.delete("/mcp", headers=session).status_code == 200
    assert begin().status_code == 200


def test_a_caller_who_waits_may_go_on(hub: Hubs) -> None:
    running = hub(max_requests_per_minute=60)
    assert [running.client.get("/healthz").status_code for _ in range(60)] == [200] * 60
    wait_until(lambda: running.client.get("/healthz").status_code == 429, "the bucket is never empty")
    wait_until(lambda: running.client.get("/healthz").status_code == 200, "the bucket did not fill again")


def test_a_channel_of_very_long_messages_is_answered_in_parts(hub: Hubs, channel: str) -> None:
    running = hub()
    long = "x" * 1_000_000
    body = {"target": channel, "sender": "s", "text": long}
    ids = [running.client.post("/api/messages", json=body).json()["posted"] for _ in range(8)]
    seen: list[int] = []
    page: dict[str, Any] = {"latest_id": 0, "has_more": True}
    while page["has_more"]:
        address = f"/api/messages?target={channel}&limit=500&since_id={page['latest_id']}"
        page = running.client.get(address).json()
        assert len(page["messages"]) <= 5
        seen += [message["id"] for message in page["messages"]]
    assert seen == ids
    newest = running.client.get(f"/api/messages?target={channel}&limit=500").json()["messages"]
    assert [message["id"] for message in newest] == ids[-5:]
    assert "Older messages" in running.client.get(f"/channels/{channel}").text
