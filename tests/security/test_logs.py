"""No line of a log can be forged, and none can drive the terminal that shows it, whatever anybody sends."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until
from tests.support.wire import ask, request, wire

FORGED = "2026-01-01 00:00:00,000 INFO forged"
HOSTILE = {
    "line feed": f"a\n{FORGED}",
    "carriage return": f"a\r{FORGED}",
    "both": f"a\r\n{FORGED}",
    "next line": f"a\x85{FORGED}",
    "line separator": f"a\u2028{FORGED}",
    "paragraph separator": f"a\u2029{FORGED}",
    "escape": "a\x1b[2J\x1b]0;title\x07",
    "C1": "a\x9b31m",
    "backspace": "a" + "\b" * 80 + FORGED,
    "direction": "a\u202edegrof\u202c \u2066b\u2069\u200f\u061c",
    "null": "a\x00b",
    "half a pair": "a\ud800b",
}
UNSHOWN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d{3})? ")


@pytest.fixture(scope="module")
def logging_hub() -> Iterator[HubProcess]:
    """A hub whose logs no other test writes."""
    hubs = Hubs()
    yield hubs()
    hubs.end()


def lines_of(hub: HubProcess, name: str) -> list[str]:
    """The lines of a log, by line feeds alone."""
    return Path(hub.environ[name]).read_bytes().decode(errors="surrogateescape").split("\n")[:-1]


def check(lines: list[str], record: "re.Pattern[str]" = RECORD) -> None:
    """Every line is a record, or is indented and belongs to the one before."""
    for line in lines:
        assert not UNSHOWN.search(line), repr(line)
        assert not line.startswith(FORGED)
        assert record.match(line) or line.startswith("    "), repr(line)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("kind", HOSTILE)
def test_texts_and_names_stay_on_their_line(logging_hub: HubProcess, channel: str, kind: str) -> None:
    text, headers = HOSTILE[kind], {"Content-Type": "application/json"}
    post = {"target": channel, "sender": "s", "text": text}
    answer = logging_hub.client.post("/api/messages", content=as_json(post), headers=headers)
    stored = answer.status_code == 201
    assert stored or kind in ("null", "half a pair")
    for field in ("target", "sender"):
        body = as_json({**post, "text": "t", field: text})
        assert logging_hub.client.post("/api/messages", content=body, headers=headers).status_code in (201, 400)
    for field in ("projectId", "threadName", "message", "callbackChannel"):
        body = as_json({"projectId": "/p", "message": "m", "threadName": "n", field: text})
        assert logging_hub.client.post("/api/dispatches", content=body, headers=headers).status_code < 504

    def archived() -> list[dict[str, Any]]:
        entries = [json.loads(line.partition("{")[1] + line.partition("{")[2]) for line in archive()]
        return [entry for entry in entries if entry["target"] == channel]

    def archive() -> list[str]:
        return lines_of(logging_hub, "RELAY_HUB_CHANNEL_LOG_PATH")

    if stored:
        wait_until(archived, "the message is not in the archive")
        assert archived()[0]["text"] == text
    check(archive())
    check(lines_of(logging_hub, "RELAY_HUB_LOG_PATH"))
    assert text not in "\n".join(lines_of(logging_hub, "RELAY_HUB_LOG_PATH"))


@pytest.mark.parametrize("kind", HOSTILE)
def test_paths_queries_and_headers_stay_on_their_line(logging_hub: HubProcess, channel: str, kind: str) -> None:
    text = HOSTILE[kind]
    escaped = quote(text, errors="surrogatepass")
    raw = text.encode(errors="surrogatepass").decode("latin-1")
    for path in (f"/nope/{escaped}", f"/dispatches/{escaped}?q={escaped}", f"/channels/{escaped}"):
        assert logging_hub.client.get(path).status_code < 500
    spoken = f"GET /nope/{channel}?q={raw} HTTP/1.1", f"{raw} /nope HTTP/1.1"
    for first in spoken:
        with wire(logging_hub) as connection:
            connection.send(request(logging_hub, first=first))
            assert connection.answer().status < 500
    for header in (
        "User-Agent",
        "Host",
        "Origin",
        "Referer",
        "Authorization",
        "Cookie",
        "Mcp-Session-Id",
        "X-Forwarded-For",
    ):
        assert ask(logging_hub, f"{header}: {raw}", first="POST /mcp HTTP/1.1").status < 500
    logging_hub.client.get(f"/nope/{channel}/end")
    wait_until(lambda: f"/nope/{channel}/end" in logging_hub.log, "the request is not in the access log")
    _, _, records = logging_hub.log.partition("codex mcp add")
    check(records.split("\n")[2:-1])


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["both", "escape", "direction"])
async def test_names_of_mcp_clients_and_tools_stay_on_their_line(logging_hub: HubProcess, kind: str) -> None:
    text = HOSTILE[kind]
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": text, "version": text}}
    for method in ("initialize", text, "tools/call"):
        message = {"jsonrpc": "2.0", "id": text, "method": method, "params": {**params, "name": text}}
        accept = {"Accept": "application/json, text/event-stream"}
        assert logging_hub.client.post("/mcp", json=message, headers=accept).status_code < 500
    async with agent(logging_hub) as claude:
        await claude.fail("post_message", target=text, sender=text, text="")
    check(lines_of(logging_hub, "RELAY_HUB_LOG_PATH"))
    _, _, records = logging_hub.log.partition("codex mcp add")
    check(records.split("\n")[2:-1])
