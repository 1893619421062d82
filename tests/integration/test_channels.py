"""Channels through every door: what one posts, the others read."""

import json

import pytest

from tests.fakes.model import FakeModel
from tests.support.claude import Claude
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.inspector import Inspector
from tests.support.mcp import ERAS, agent

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("era", ERAS)
async def test_what_an_agent_posts_curl_reads_and_the_other_way_round(
    shared_hub: HubProcess, channel: str, era: str
) -> None:
    running = shared_hub
    async with agent(running, era) as claude:
        posted = await claude.call("post_message", target=f" {channel} ", sender=" claude ", text=" hi \n")
        answer = running.client.post("/api/messages", json={"target": channel, "sender": "user", "text": "hello"})
        assert answer.status_code == 201
        assert answer.json()["posted"] == posted["posted"] + 1
        messages = running.client.get("/api/messages", params={"target": channel}).json()["messages"]
        fetched = await claude.call("fetch_messages", target=channel)
    assert [(m["sender"], m["text"], m["source"]) for m in messages] == [
        ("claude", " hi \n", "mcp"),
        ("user", "hello", "web-ui"),
    ]
    assert fetched == {"messages": messages, "latest_id": messages[-1]["id"], "has_more": False}


async def test_a_reader_pages_through_a_channel_by_latest_id(shared_hub: HubProcess, channel: str) -> None:
    running = shared_hub
    async with agent(running) as reader:
        ids = [
            (await reader.call("post_message", target=channel, sender="claude", text=f"{n}"))["posted"]
            for n in range(7)
        ]
        seen: list[int] = []
        page = await reader.call("fetch_messages", target=channel, limit=3)
        while page["messages"]:
            seen += [message["id"] for message in page["messages"]]
            page = await reader.call("fetch_messages", target=channel, since_id=page["latest_id"], limit=3)
        again = await reader.call("fetch_messages", target=channel, since_id=99999)
    assert seen == ids
    assert again == {"messages": [], "latest_id": 99999, "has_more": False}


async def test_limits_are_clamped(shared_hub: HubProcess, channel: str) -> None:
    running = shared_hub
    async with agent(running) as reader:
        for n in range(60):
            running.client.post("/api/messages", json={"target": channel, "sender": "s", "text": f"{n}"})
        counts = [
            len((await reader.call("fetch_messages", target=channel, **more))["messages"])
            for more in ({}, {"limit": 0}, {"limit": 999}, {"limit": "5"})
        ]
    assert counts == [50, 1, 60, 5]
    texts = [
        [message["text"] for message in running.client.get("/api/messages", params=query).json()["messages"]]
        for query in ({"target": channel, "limit": "3"}, {"target": channel, "limit": "0"})
    ]
    assert texts == [["57", "58", "59"], ["59"]]
    assert len(running.client.get(f"/api/messages?target={channel}&limit=9999").json()["messages"]) == 60


@pytest.mark.parametrize("era", ERAS)
async def test_missing_fields_are_named_in_the_seeds_order(shared_hub: HubProcess, channel: str, era: str) -> None:
    running = shared_hub
    given: dict[str, str] = {}
    for field in ("target", "sender", "text"):
        answer = running.client.post("/api/messages", json=given)
        assert (answer.status_code, answer.json()["error"]) == (400, f"{field} is required")
        async with agent(running, era) as claude:
            blank = {"target": " ", "sender": "", "text": "\n"} | given
            error = await claude.fail("post_message", **blank)
        assert (error["message"], error["field"]) == (f"{field} is required", field)
        given[field] = "x"
    assert running.client.post("/api/messages", json=given).status_code == 201


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"x", "Request body must be valid JSON"),
        (b"[1]", "Request body must be a JSON object"),
        (b'{"target": "\xff"}', "Request body must be valid JSON"),
        (b"[" * 100_000, "Request body must be valid JSON"),
        (b'{"target": 5, "sender": "s", "text": "t"}', "target must be a string"),
        (b'{"target": "c", "sender": "s", "text": false}', "text must be a string"),
        (b'{"target": "c", "sender": "s", "text": "a\\u0000b"}', "text must not contain NUL characters"),
        (b'{"target": "c", "sender": "s", "text": "\\ud800"}', "text contains a broken surrogate pair"),
        (b'{"target": "a\\nb", "sender": "s", "text": "t"}', "target must not contain control characters"),
    ],
)
def test_a_body_that_cannot_be_stored_is_refused_with_the_reason(
    shared_hub: HubProcess, channel: str, body: bytes, error: str
) -> None:
    answer = shared_hub.client.post("/api/messages", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (400, False, error)


def test_what_is_too_large_is_refused_and_names_the_setting(hub: Hubs) -> None:
    running = hub(max_body_bytes=3000, max_text_chars=1000, max_name_chars=10)
    for body, status, setting in (
        ({"target": "c", "sender": "s", "text": "x" * 2000}, 400, "max_text_chars"),
        ({"target": "c" * 11, "sender": "s", "text": "x"}, 400, "max_name_chars"),
        ({"target": "c", "sender": "s", "text": "x" * 4000}, 413, "max_body_bytes"),
    ):
        answer = running.client.post("/api/messages", json=body)
        assert answer.status_code == status
        assert setting in answer.json()["error"]

    def endless() -> "list[bytes]":
        return [b" " * 1000] * 10

    unsized = running.client.post(
        "/api/messages", content=iter(endless()), headers={"Content-Type": "application/json"}
    )
    assert unsized.status_code == 413


@pytest.mark.parametrize("limit", ["abc", "", "1.5"])
def test_a_bad_limit_is_a_clear_error(shared_hub: HubProcess, channel: str, limit: str) -> None:
    answer = shared_hub.client.get("/api/messages", params={"limit": limit})
    assert answer.status_code == 400
    assert answer.json() == {
        "ok": False,
        "error": "limit must be a whole number",
        "code": "bad_request",
        "details": {"field": "limit"},
    }


async def test_channels_are_the_configured_ones_and_those_posted_to(hub: Hubs) -> None:
    running = hub(channels=" a, b ,,")
    running.client.post("/api/messages", json={"target": "Z", "sender": "s", "text": "x"})
    async with agent(running) as claude:
        assert await claude.call("list_channels") == {"channels": ["Z", "a", "b"]}
    assert running.client.get("/api/channels").json() == {"channels": ["Z", "a", "b"]}
    assert running.client.get("/api/messages").json() == {"target": "proj-x", "messages": []}


async def test_the_text_of_a_channel_tool_is_its_payload(shared_hub: HubProcess, channel: str) -> None:
    async with agent(shared_hub) as claude:
        for tool, arguments in (
            ("post_message", {"target": "c", "sender": "s", "text": "ü"}),
            ("fetch_messages", {"target": "c"}),
            ("list_channels", {}),
        ):
            result = await claude.client.call_tool(tool, arguments)
            assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]


async def test_arguments_are_explained_in_our_words(shared_hub: HubProcess, channel: str) -> None:
    async with agent(shared_hub) as claude:
        unknown = await claude.fail("fetch_messages", target=channel, since="5")
        wrong = await claude.fail("fetch_messages", target=channel, limit="many")
        absent = await claude.fail("nonsense")
    assert unknown["message"] == "since is not known here; check its spelling"
    assert wrong["message"] == "limit must be a whole number"
    assert absent["message"] == "Unknown tool: nonsense"
    assert "post_message" in absent["tools"]


async def test_the_tool_list_is_small_and_every_tool_is_marked_for_codex(shared_hub: HubProcess, channel: str) -> None:
    async with agent(shared_hub) as claude:
        listed = await claude.client.list_tools()
    assert len(listed.model_dump_json(by_alias=True, exclude_none=True)) <= 12_000
    for tool in listed.tools:
        assert tool.annotations is not None
        assert (tool.annotations.destructive_hint, tool.annotations.open_world_hint) == (False, False)
    post = next(tool for tool in listed.tools if tool.name == "post_message")
    assert post.input_schema["required"] == ["target", "sender", "text"]


def test_the_logs_keep_the_seeds_lines_and_the_activity_log_keeps_no_text(hub: Hubs) -> None:
    running = hub()
    body = {"target": "c1", "sender": "clåude", "text": "geheim\n\x1b[31m\x9b\u2028"}
    message = running.client.post("/api/messages", json=body).json()["message"]
    log = running.folder.parent / "log"
    activity, archive = ((log / name).read_text("utf-8") for name in ("activity.log", "messages.log"))
    expected = (
        f'INFO post_message {{"id": {message["id"]}, "target": "c1", "sender": "clåude", "text_len": 14, '
        '"source": "web-ui"}'
    )
    assert expected in activity
    assert "geheim" not in activity
    (line,) = archive.splitlines()
    archived = json.loads(line.split(" ", 2)[2])
    assert list(archived) == ["id", "ts", "target", "sender", "text", "source"]
    assert archived == message
    assert not set("\x1b\x9b\u2028") & set(archive)
    assert "clåude" in archive


def test_the_inspector_posts_and_fetches(shared_hub: HubProcess, channel: str, inspector: Inspector) -> None:
    running = shared_hub
    posted = inspector.call(f"{running.url}/mcp", "post_message", target=channel, sender="inspector", text="hi")
    assert posted["structuredContent"]["ok"] is True
    fetched = inspector.call(f"{running.url}/mcp", "fetch_messages", target=channel)
    assert fetched["structuredContent"]["messages"][0]["text"] == "hi"


def test_claude_code_posts_and_fetches(shared_hub: HubProcess, channel: str, claude: Claude, model: FakeModel) -> None:
    running = shared_hub
    arguments = json.dumps({"target": channel, "sender": "claude", "text": "from Claude Code"})
    said = claude(
        f"[[call mcp__relay__post_message {arguments}]]",
        mcp={"relay": f"{running.url}/mcp"},
        allowed=["mcp__relay__post_message"],
    )
    assert said.returncode == 0, said.stderr
    (message,) = running.client.get(f"/api/messages?target={channel}").json()["messages"]
    assert (message["sender"], message["text"]) == ("claude", "from Claude Code")
    read = claude(
        f'[[call mcp__relay__fetch_messages {{"target": "{channel}"}}]]',
        mcp={"relay": f"{running.url}/mcp"},
        allowed=["mcp__relay__fetch_messages"],
    )
    assert "from Claude Code" in read.stdout


def test_codex_posts_and_fetches_although_nobody_can_approve(
    shared_hub: HubProcess, channel: str, codex_home: CodexHome
) -> None:
    running = shared_hub
    codex_home.add_mcp_server("relay", f"{running.url}/mcp")
    codex_home.config.write_text(codex_home.config.read_text().replace("danger-full-access", "workspace-write"))
    arguments = json.dumps({"target": channel, "sender": "codex", "text": "from Codex"})
    codex_home.exec(f"[[call mcp__relay|post_message {arguments}]]")
    (message,) = running.client.get(f"/api/messages?target={channel}").json()["messages"]
    assert (message["sender"], message["text"]) == ("codex", "from Codex")
    events = codex_home.exec(f'[[call mcp__relay|fetch_messages {{"target": "{channel}"}}]]')
    assert "from Codex" in json.dumps(events)
