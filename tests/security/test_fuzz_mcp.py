"""Frames that no MCP client would send: always an answer, never a crash, and nothing left behind."""

import json
import string
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.codex import FakeCodex
from tests.support import fuzz
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import ERAS, agent

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
PLAIN = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
METHODS = (
    "initialize",
    "ping",
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "resources/subscribe",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "server/discover",
    "subscriptions/listen",
    "tasks/get",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "rpc.discover",
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub that lets nobody wait for long, with a scripted Codex."""
    hubs = Hubs()
    fake = FakeCodex(tmp_path_factory.mktemp("codex"), trusted=["/srv/p"])
    fake.add_threads(1, "/srv/p")
    yield hubs(codex_command=fake.command, mcp_max_wait_sec=0.2)
    hubs.end()


def opened(hub: HubProcess) -> str:
    """The id of a new session."""
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "fuzz", "version": "1"}}
    answer = fuzz.send(hub, "POST", "/mcp", PLAIN, encoded(frame("initialize", params)))
    assert answer is not None
    assert answer.status == 200, answer.body
    return answer.headers["mcp-session-id"]


def frame(method: str, params: Any, request_id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def encoded(message: Any) -> bytes:
    return json.dumps(message).encode()


def is_whole(answer: fuzz.Answer | None) -> bool:
    """Whether somebody who reads the answer learns what happened."""
    if answer is None or answer.status >= 500:
        return False
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return answer.status == 202 or not is_json or isinstance(answer.json(), dict)


members = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "1.0", 2]) | fuzz.anything,
        "id": st.integers() | fuzz.anything,
        "method": st.sampled_from(METHODS) | fuzz.text,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["list_channels", "post_message"]) | fuzz.anything,
                "arguments": fuzz.anything,
                "uri": fuzz.text,
                "cursor": fuzz.anything,
                "protocolVersion": fuzz.anything,
                "requestId": fuzz.anything,
                "progressToken": fuzz.anything,
                "_meta": st.just(META) | fuzz.anything,
            },
        )
        | fuzz.anything,
        "result": fuzz.anything,
        "error": fuzz.anything,
        "extra": fuzz.anything,
    },
)
deep = st.sampled_from(
    [b"[" * 100_000, b'{"a":' * 50_000, b"[" * 5000 + b"]" * 5000, b'{"id":1' + b"0" * 50_000 + b"}"]
)
bodies = st.one_of(
    members.map(encoded),
    members.map(encoded),
    st.lists(members, max_size=3).map(encoded),
    fuzz.anything.map(encoded),
    st.builds(lambda whole, end: whole[:end], members.map(encoded), st.integers(0, 60)),
    st.binary(max_size=60),
    deep,
)
values = st.one_of(
    st.sampled_from([b"", b" ", b"x" * 5000, b"\xff\xfe", b"tools/list", b"list_channels ", b"=?base64?!?=", b"2.0"]),
    st.text(string.printable.replace("\n", "").replace("\r", ""), max_size=20).map(str.encode),
)
odd_headers = st.fixed_dictionaries(
    {},
    optional={
        "Mcp-Session-Id": values,
        "Mcp-Protocol-Version": st.sampled_from([b"2025-06-18", b"2025-11-25", MODERN.encode()]) | values,
        "Mcp-Method": st.sampled_from([method.encode() for method in METHODS]) | values,
        "Mcp-Name": values,
        "Mcp-Param-Text": values,
        "Last-Event-ID": values,
        "Accept": st.sampled_from([b"*/*", b"application/json", b"text/event-stream", b"text/html"]) | values,
        "Content-Type": st.sampled_from([b"application/json; charset=x", b"text/plain"]) | values,
    },
)


def request(hub: HubProcess, headers: dict[str, Any], body: bytes, method: str = "POST") -> fuzz.Answer | None:
    """With the usual headers, where others are not given."""
    return fuzz.send(hub, method, "/mcp", list({**dict(PLAIN), **headers}.items()), body)


def test_any_frame_in_a_session_is_answered(target: HubProcess) -> None:
    session = opened(target)

    @fuzz.examples(120)
    @given(bodies, st.sampled_from(["2025-06-18", "2025-11-25", None]))
    def try_it(body: bytes, version: str | None) -> None:
        headers = {"Mcp-Session-Id": session, **({"Mcp-Protocol-Version": version} if version else {})}
        assert is_whole(request(target, headers, body))

    with fuzz.unharmed(target):
        try_it()
        # The session itself has not suffered.
        answer = request(target, {"Mcp-Session-Id": session}, encoded(frame("tools/list", {})))
        assert answer is not None
        assert answer.json()["result"]["tools"]


def test_any_frame_without_a_session_is_answered(target: HubProcess) -> None:
    @fuzz.examples(120)
    @given(bodies, st.sampled_from(METHODS))
    def try_it(body: bytes, method: str) -> None:
        assert is_whole(request(target, {"Mcp-Protocol-Version": MODERN, "Mcp-Method": method}, body))

    with fuzz.unharmed(target):
        try_it()


def test_any_headers_are_answered(target: HubProcess) -> None:
    @fuzz.examples(120)
    @given(odd_headers, st.sampled_from(["POST", "POST", "GET", "DELETE", "PUT", "OPTIONS"]), members.map(encoded))
    def try_it(headers: dict[str, Any], method: str, body: bytes) -> None:
        assert is_whole(request(target, headers, body, method))

    with fuzz.unharmed(target):
        try_it()


@pytest.mark.parametrize("headers", [{}, {"Mcp-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}])
def test_half_a_body_costs_nothing(target: HubProcess, headers: dict[str, Any]) -> None:
    body = encoded(frame("tools/list", {"_meta": META}))
    with fuzz.unharmed(target):
        for end in range(0, len(body), 7):
            answer = fuzz.send(target, "POST", "/mcp", [*PLAIN, *headers.items()], body[:end], missing=10)
            assert answer is None or answer.status < 500


def test_a_body_that_is_too_large_is_refused(target: HubProcess) -> None:
    body = encoded(frame("tools/list", {"pad": "x" * (5 * 1024 * 1024)}))
    with fuzz.unharmed(target):
        for headers in ({}, {"Mcp-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}):
            answer = request(target, headers, body)
            assert answer is None or answer.status == 413


async def tools_of(hub: HubProcess) -> dict[str, list[str]]:
    async with agent(hub) as client:
        return {tool.name: list(tool.input_schema["properties"]) for tool in (await client.client.list_tools()).tools}


@pytest.mark.anyio
async def test_any_arguments_of_any_tool_are_answered(target: HubProcess) -> None:
    tools = await tools_of(target)
    known = st.sampled_from(["/srv/p", "proj-x", "someone", 1, "1"])
    calls = st.sampled_from(sorted(tools)).flatmap(
        lambda name: st.tuples(
            st.just(name),
            st.fixed_dictionaries({}, optional=dict.fromkeys(tools[name], known | fuzz.anything)) | fuzz.anything,
        )
    )
    with httpx.Client(base_url=target.url, timeout=fuzz.PATIENCE_SEC, trust_env=False) as client:

        @fuzz.examples(300)
        @given(calls)
        def try_it(call: tuple[str, Any]) -> None:
            name, arguments = call
            headers = {**dict(PLAIN), "Mcp-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": name}
            params = {"name": name, "arguments": arguments, "_meta": META}
            answer = client.post("/mcp", content=encoded(frame("tools/call", params)), headers=headers)
            assert answer.status_code in (200, 400), answer.text
            assert "internal_error" not in answer.text

        with fuzz.unharmed(target):
            try_it()


@pytest.mark.parametrize("second", [7, "7"])
def test_two_requests_under_one_id_are_not_mixed_up(target: HubProcess, second: Any) -> None:
    """The SDK's own transport would leave one of them waiting for ever."""
    headers = {"Mcp-Session-Id": opened(target)}
    answers: list[fuzz.Answer | None] = []

    def call(request_id: Any) -> None:
        params = {"name": "list_channels", "arguments": {}}
        answers.append(request(target, headers, encoded(frame("tools/call", params, request_id))))

    with fuzz.unharmed(target):
        for _ in range(3):
            threads = [threading.Thread(target=call, args=[request_id]) for request_id in (7, second) * 3]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    statuses = [answer.status if answer else 0 for answer in answers]
    assert set(statuses) <= {200, 409}
    assert 200 in statuses


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.anyio
async def test_a_well_meant_client_is_served_after_all_that(target: HubProcess, era: str) -> None:
    async with agent(target, era) as client:
        assert "channels" in await client.call("list_channels")


def test_what_opens_no_session_leaves_none_behind(hub: Hubs) -> None:
    most = 3
    narrow = hub(max_mcp_sessions=most)
    homeless = encoded(frame("tools/list", {}))
    with fuzz.unharmed(narrow):
        for body in (b"", b"{", b"[]", b"{}", b"7", encoded({"jsonrpc": "2.0", "method": "x"}), homeless):
            for _ in range(most + 1):
                answer = request(narrow, {}, body)
                assert answer is not None
                assert 400 <= answer.status < 429
        for _ in range(most + 1):
            fuzz.send(narrow, "POST", "/mcp", PLAIN, homeless[:9], missing=100)
            fuzz.send(narrow, "GET", "/mcp", PLAIN)
            fuzz.send(narrow, "DELETE", "/mcp", PLAIN)
        for _ in range(most):
            assert opened(narrow)
