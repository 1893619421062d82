"""Calls of quick tools go past most of the SDK. Nobody may notice: on the SDK's way they get the same answer."""

import json
from typing import Any

import httpx
import pytest

from tests.support.hub import HubProcess
from tests.support.mcp import ERAS

MODERN, SESSIONS = "2026-07-28", "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
# Only what comes twice in a request has somebody look at it.
SLOWLY = [("x-nothing", "1"), ("x-nothing", "2")]

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("list_channels", {}),
    ("fetch_messages", {"target": "proj-x"}),
    ("fetch_messages", {"target": "nowhere", "limit": "many"}),
    ("search_messages", {"query": "nothing \u2028 like it ☃"}),
    ("post_message", {"target": "", "sender": "a", "text": "b"}),
    ("post_message", {"unknown": None}),
    ("relay_dispatch_status", {"dispatchId": "unknown"}),
    ("relay_list_dispatches", {}),
]
"""Calls that change nothing, so that they can be made twice."""


class Wire:
    """A client that speaks either era by hand."""

    def __init__(self, hub: HubProcess, era: str) -> None:
        self.era = era
        self.hub = hub
        self.headers = {"accept": "application/json, text/event-stream"}
        if era == MODERN:
            self.headers |= {"mcp-protocol-version": MODERN, "mcp-method": "tools/call"}
            return
        hello = {"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        opened = self.send({"method": "initialize", "params": hello, "id": 0})
        self.headers |= {"mcp-protocol-version": SESSIONS, "mcp-session-id": opened.headers["mcp-session-id"]}
        self.send({"method": "notifications/initialized"})

    def send(self, message: dict[str, Any], *more: tuple[str, str]) -> httpx.Response:
        return self.hub.client.post("/mcp", json={"jsonrpc": "2.0", **message}, headers=[*self.headers.items(), *more])

    def call(self, tool: str, *more: tuple[str, str], **params: Any) -> httpx.Response:
        if self.era == MODERN:
            more = (("mcp-name", tool), *more)
            params = {"_meta": META, **params}
        return self.send({"method": "tools/call", "id": 7, "params": {"name": tool, **params}}, *more)


@pytest.fixture(params=ERAS)
def wire(request: pytest.FixtureRequest, shared_hub: HubProcess) -> Wire:
    return Wire(shared_hub, request.param)


def comparable(answer: httpx.Response) -> tuple[Any, ...]:
    kind = answer.headers.get("content-type")
    body = answer.json() if kind == "application/json" else answer.content
    return answer.status_code, set(answer.headers), kind, body


@pytest.mark.parametrize(("tool", "arguments"), CALLS)
def test_a_quick_tool_answers_the_same_on_both_ways(wire: Wire, tool: str, arguments: dict[str, Any]) -> None:
    directly = wire.call(tool, arguments=arguments)
    slowly = wire.call(tool, *SLOWLY, arguments=arguments)

    assert comparable(directly) == comparable(slowly)
    assert directly.json()["id"] == 7


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"arguments": None},
        {"arguments": ["not", "an", "object"]},
        {"arguments": {}, "_meta": "not an object"},
        {"arguments": {}, "_meta": {}},
        {"arguments": {}, "_meta": {**META, "progressToken": {}}},
        {"arguments": {}, "_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}},
        {"arguments": {}, "_meta": {**META, "io.modelcontextprotocol/clientCapabilities": []}},
        {"arguments": {}, "task": {"ttl": 1}},
        {"arguments": {}, "name": "unknown"},
        {"arguments": {}, "name": 5},
    ],
)
def test_a_call_out_of_order_is_refused_the_same_on_both_ways(wire: Wire, params: dict[str, Any]) -> None:
    assert comparable(wire.call("list_channels", **params)) == comparable(wire.call("list_channels", *SLOWLY, **params))


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-protocol-version": "2024-11-05"},
        {"mcp-protocol-version": "2025-03-26"},
        {"mcp-protocol-version": "2099-01-01"},
        {"mcp-method": "tools/list"},
        {"mcp-session-id": "unknown"},
        {"accept": "text/html"},
        {"accept": "application/json"},
        {"content-type": "text/plain"},
    ],
)
def test_headers_out_of_order_are_refused_the_same_on_both_ways(wire: Wire, headers: dict[str, str]) -> None:
    wire.headers |= headers
    assert comparable(wire.call("list_channels", arguments={})) == comparable(
        wire.call("list_channels", *SLOWLY, arguments={})
    )


def test_a_session_that_was_closed_takes_no_call(shared_hub: HubProcess) -> None:
    wire = Wire(shared_hub, ERAS[0])
    assert shared_hub.client.delete("/mcp", headers=wire.headers).status_code == 200

    assert wire.call("list_channels", arguments={}).status_code == 404


@pytest.mark.parametrize("era", ERAS)
def test_an_id_comes_back_as_it_was(shared_hub: HubProcess, era: str) -> None:
    wire = Wire(shared_hub, era)
    headers = [("mcp-name", "list_channels")] if era == MODERN else []
    for given in ("text", "", 0, -1, 2**53):
        params = {"name": "list_channels", "arguments": {}, "_meta": META}
        answer = wire.send({"method": "tools/call", "id": given, "params": params}, *headers)
        assert json.loads(answer.content)["id"] == given
