"""The sender of a message is whoever is known by the token, through every door."""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.model import FakeModel
from tests.support.claude import Claude
from tests.support.codex import CodexHome
from tests.support.forms import token_on
from tests.support.hub import HubProcess
from tests.support.mcp import ERAS, agent
from tests.support.parts import CHECKOUT, find_program
from tests.support.processes import run
from tests.support.scripts import Script
from tests.support.tokens import ClosedHub, closed_hub


@pytest.fixture(scope="module")
def closed() -> Iterator[ClosedHub]:
    with closed_hub(claude=(), codex=(), ana=("--human",)) as made:
        yield made


def messages(closed: ClosedHub, channel: str) -> list[dict[str, Any]]:
    answer = closed.hub.client.get("/api/messages", params={"target": channel}, headers=closed.headers("claude"))
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


def test_the_api_takes_the_sender_from_the_token(closed: ClosedHub, channel: str) -> None:
    def post(**body: Any) -> Any:
        return closed.hub.client.post(
            "/api/messages", json={"target": channel, "text": "hello", **body}, headers=closed.headers("claude")
        )

    for sender in (
        {},
        {"sender": ""},
        {"sender": "  "},
        {"sender": None},
        {"sender": "claude"},
        {"sender": " claude "},
    ):
        answer = post(**sender)
        assert answer.status_code == 201, sender
        shown = answer.json()["message"]
        assert (shown["sender"], shown["badge"]) == ("claude", "agent")
    for sender in ("codex", "ana", "Claude", "claude​", "cl\u0430ude", "x" * 500):
        refused = post(sender=sender)
        assert refused.status_code == 403, sender
        assert (refused.json()["code"], refused.json()["details"]["field"]) == ("forbidden", "sender")
    for wrong in (1, [], {"name": "claude"}, "cla\0ude"):
        assert post(sender=wrong).status_code == 400, wrong
    assert {message["sender"] for message in messages(closed, channel)} == {"claude"}


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_tools_take_sender_and_reader_from_the_token(closed: ClosedHub, channel: str, era: str) -> None:
    async with agent(closed.hub, era, closed.tokens["codex"]) as codex:
        schemas = {tool.name: tool.input_schema for tool in (await codex.client.list_tools()).tools}
        assert "sender" in schemas["post_message"]["properties"]
        assert schemas["post_message"]["required"] == ["target", "text"]
        assert schemas["ack_messages"]["required"] == ["target", "up_to_id"]
        posted = await codex.call("post_message", target=channel, text="one")
        await codex.call("post_message", target=channel, text="two", sender="")
        await codex.call("post_message", target=channel, text="three", sender="codex")
        refused = await codex.fail("post_message", target=channel, text="four", sender="claude")
        assert (refused["relayCode"], refused["field"]) == ("forbidden", "sender")
    async with agent(closed.hub, era, closed.tokens["claude"]) as claude:
        for tool in ("fetch_messages", "wait_for_messages"):
            page = await claude.call(tool, target=channel, reader="claude")
            assert [(each["sender"], each["badge"]) for each in page["messages"]] == [("codex", "agent")] * 3
            assert (await claude.fail(tool, target=channel, reader="codex"))["field"] == "reader"
        await claude.call("ack_messages", target=channel, up_to_id=posted["posted"])
        left = await claude.call("fetch_messages", target=channel, reader="claude")
        assert [each["text"] for each in left["messages"]] == ["two", "three"]
        refused = await claude.fail("ack_messages", target=channel, reader="codex", up_to_id=posted["posted"])
        assert (refused["relayCode"], refused["field"]) == ("forbidden", "reader")


@pytest.mark.anyio
async def test_without_tokens_a_tool_wants_a_sender_and_believes_it(shared_hub: HubProcess, channel: str) -> None:
    async with agent(shared_hub) as anybody:
        schemas = {tool.name: tool.input_schema for tool in (await anybody.client.list_tools()).tools}
        assert schemas["post_message"]["required"] == ["target", "sender", "text"]
        assert schemas["ack_messages"]["required"] == ["target", "reader", "up_to_id"]
        refused = await anybody.fail("post_message", target=channel, text="x")
        assert refused["message"] == "sender is required"
        await anybody.call("post_message", target=channel, sender="whoever", text="x")
        (message,) = (await anybody.call("fetch_messages", target=channel))["messages"]
    assert message["sender"] == "whoever"
    assert "badge" not in message


def test_pages_and_streams_show_how_a_sender_was_known(closed: ClosedHub, channel: str) -> None:
    client = closed.hub.client
    with (
        client.stream("GET", f"/api/events?target={channel}", headers=closed.headers("claude")) as events,
        client.stream("GET", f"/live/channels/{channel}?after=0", headers=closed.headers("claude")) as live,
    ):
        body = {"target": channel, "text": "hello", "badge": "human", "source": "forged"}
        assert client.post("/api/messages", json=body, headers=closed.headers("codex")).status_code == 201
        told = next(line for line in events.iter_lines() if line.startswith("data: "))
        assert json.loads(told.removeprefix("data: "))["badge"] == "agent"
        assert any("agent, known by its token" in re.sub(r"<[^>]+>", "", line) for line in live.iter_lines())
    page = client.get(f"/channels/{channel}", headers=closed.headers("claude")).text
    assert ", known by its token" in page
    assert "logged in at this hub" not in page


def test_a_human_token_is_a_humans_only_in_a_browser(closed: ClosedHub, channel: str) -> None:
    client = closed.hub.client
    body = {"target": channel, "text": "by a program"}
    assert client.post("/api/messages", json=body, headers=closed.headers("ana")).json()["message"]["badge"] == "agent"
    csrf = token_on(client.get("/login").text)
    origin = {"Origin": closed.hub.url}
    client.post("/login", data={"csrf": csrf, "token": closed.tokens["ana"]}, headers=origin)
    try:
        csrf = token_on(client.get("/search").text)
        form = {"csrf": csrf, "target": channel, "text": "by hand"}
        assert client.post(f"/channels/{channel}", data=form, headers=origin).status_code == 303
        assert client.post(f"/channels/{channel}", data=form | {"sender": "claude"}, headers=origin).status_code == 403
        posted = client.post("/api/messages", json=body | {"text": "by script"}, headers=origin).json()["message"]
        assert (posted["sender"], posted["badge"]) == ("ana", "human")
    finally:
        client.cookies.clear()
    shown = [(each["sender"], each["badge"]) for each in messages(closed, channel)]
    assert shown == [("ana", "agent"), ("ana", "human"), ("ana", "human")]


def test_a_key_belongs_to_its_sender(closed: ClosedHub, channel: str) -> None:
    """Nobody can take up the place of another's message by guessing its key."""
    ids = set()
    for name in ("claude", "codex", "claude"):
        body = {"target": channel, "text": "once", "idempotency_key": channel}
        posted = closed.hub.client.post("/api/messages", json=body, headers=closed.headers(name)).json()
        assert posted["message"]["sender"] == name
        ids.add(posted["posted"])
    assert len(ids) == 2


# The real clients.


def test_claude_code_posts_as_its_token(closed: ClosedHub, claude: Claude, model: FakeModel, channel: str) -> None:
    url = f"{closed.hub.url}/mcp"
    server = {"type": "http", "url": url, "headers": closed.headers("claude")}
    arguments = json.dumps({"target": channel, "text": "from Claude Code"})
    finished = claude(f"[[call mcp__relay|post_message {arguments}]]", mcp={"relay": server}, allowed=["mcp__relay"])
    assert finished.returncode == 0, finished
    (message,) = messages(closed, channel)
    assert (message["sender"], message["badge"], message["source"]) == ("claude", "agent", "mcp")

    forged = json.dumps({"target": channel, "sender": "codex", "text": "forged"})
    claude(f"[[call mcp__relay|post_message {forged}]]", mcp={"relay": server}, allowed=["mcp__relay"])
    claude(f"[[call mcp__relay|post_message {forged}]]", mcp={"relay": url}, allowed=["mcp__relay"])
    assert len(messages(closed, channel)) == 1


def test_codex_posts_as_its_token(closed: ClosedHub, codex_home: CodexHome, channel: str) -> None:
    added = codex_home.run(
        "mcp", "add", "relay", "--url", f"{closed.hub.url}/mcp", "--bearer-token-env-var", "RELAY_HUB_TOKEN"
    )
    assert added.returncode == 0, added
    arguments = json.dumps({"target": channel, "text": "from Codex"})
    prompt = f"[[call mcp__relay|post_message {arguments}]]"
    command = [codex_home.native, "exec", "--json", "--skip-git-repo-check", prompt]
    for token in (closed.tokens["codex"], "rh_wrong"):
        environ = codex_home.environ | {"RELAY_HUB_TOKEN": token}
        assert run(command, cwd=codex_home.project, environ=environ).returncode == 0
    (message,) = messages(closed, channel)
    assert (message["sender"], message["badge"], message["text"]) == ("codex", "agent", "from Codex")


def test_the_command_and_the_poller_show_the_token(closed: ClosedHub, channel: str) -> None:
    environ = closed.hub.environ | {"RELAY_HUB_TOKEN": closed.tokens["codex"]}
    call = [sys.executable, "-m", "app", "call", "post_message", "--url", closed.hub.url]
    call += ["--target", channel, "--text", "from a script"]
    assert run(call, cwd=closed.hub.folder, environ=environ).returncode == 0
    assert [(each["sender"], each["badge"]) for each in messages(closed, channel)] == [("codex", "agent")]
    refused = run(call, cwd=closed.hub.folder, environ=closed.hub.environ)
    assert refused.returncode == 1
    assert refused.stderr.startswith("[unauthenticated] ")

    for program in ("bash", "curl", "jq"):
        find_program(program)
    settings = {"BASE_URL": closed.hub.url, "TARGET": channel, "WATCH_SENDER": "codex", "INTERVAL": "0.1"}
    poll = CHECKOUT / "scripts" / "review-poll.sh"
    with Script([poll], closed.hub.folder, environ | settings | {"LASTFILE": f"{channel}.last"}) as script:
        script.see(r".*from a script.*")
