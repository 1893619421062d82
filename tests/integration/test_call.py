"""`relay-hub call`: every tool of a running hub from a shell, with errors as data."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.fakes.codex import FakeCodex
from tests.support.hub import HubProcess, Hubs
from tests.support.processes import Finished, run, wait_until
from tests.support.serving import Served, serving
from tests.support.terminal import Terminal

DISPATCH = "0b9e4b0e-6f0f-4a35-9d0e-2c3b5a7f1d11"


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "app", "call", *map(str, words)]


def call(hub: HubProcess, *words: str | Path, **environ: str) -> Finished:
    """Run the command where the settings of this hub hold."""
    settings = {**hub.environ, "RELAY_HUB_PORT": str(hub.port), **environ}
    finished = run(command(*words), cwd=hub.folder, environ=settings)
    assert "Traceback" not in finished.stderr
    return finished


def payload(hub: HubProcess, *words: str | Path) -> dict[str, Any]:
    """What a tool that succeeds answers as data."""
    finished = call(hub, *words, "--json")
    assert (finished.returncode, finished.stderr) == (0, ""), finished
    answer = json.loads(finished.stdout)
    assert set(answer) == {"ok", "command", "text", "payload"}
    assert (answer["ok"], answer["command"]) == (True, words[0])
    found: dict[str, Any] = answer["payload"]
    return found


def failure(hub: HubProcess, *words: str | Path, **environ: str) -> dict[str, Any]:
    """What a tool that fails answers as data."""
    finished = call(hub, *words, "--json", **environ)
    assert (finished.returncode, finished.stderr) == (1, ""), finished
    answer: dict[str, Any] = json.loads(finished.stdout)
    assert set(answer) == {"ok", "command", "relayCode", "message", "details"}
    assert (answer["ok"], answer["command"]) == (False, words[0])
    return answer


@pytest.fixture
def codex(tmp_path: Path) -> FakeCodex:
    return FakeCodex(tmp_path / "fake", trusted=["/srv/p"])


def test_the_relay_tools_do_from_a_shell_what_they_do_for_agents(hub: Hubs, codex: FakeCodex) -> None:
    relay = hub(codex_command=codex.command)

    projects = payload(relay, "relay_list_projects")["projects"]
    assert [project["projectId"] for project in projects] == ["/srv/p"]
    made = payload(relay, "relay_create_thread", "--project-id", "/srv/p", "--name=mine")
    thread = made["threadId"]
    sent = payload(relay, "relay_send_wait", "--thread-id", thread, "--message", "hello", "--timeout-sec", "20")
    assert sent["replyText"] == "echo: hello"
    (listed,) = payload(relay, "relay_list_threads", "--project-id=/srv/p", "--query", "mine")["threads"]
    assert (listed["threadId"], listed["lastTurnId"]) == (thread, sent["turnId"])
    dispatched = payload(relay, "relay_dispatch", "--project-id", "/srv/p", "--thread-name", "mine", "--message", "two")
    assert dispatched["resolution"] == "by_exact_name"
    accepted = payload(
        relay, "relay_dispatch_async", "--project-id", "/srv/p", "--create-if-missing", "--message", "three"
    )
    assert accepted["resolution"] == "created_new"
    relay.dispatch_when(accepted["dispatchId"])
    status = payload(relay, "relay_dispatch_status", "--dispatch-id", accepted["dispatchId"])
    assert (status["dispatchStatus"], status["replyText"]) == ("succeeded", "echo: three")

    shown = call(relay, "relay_dispatch_status", "--dispatch-id", accepted["dispatchId"])
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Dispatch {accepted['dispatchId']}: succeeded.\n")
    assert shown.stdout.endswith("Reply: echo: three\n")


def test_an_error_is_a_line_for_people_and_data_for_programs(hub: Hubs, codex: FakeCodex) -> None:
    relay = hub(codex_command=codex.command)
    first, second = codex.add_threads(2, "/srv/p")
    words = ("relay_dispatch", "--project-id", "/srv/p", "--query", "thread", "--message", "x")

    told = call(relay, *words)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == '[target_ambiguous] Multiple threads matched query "thread".\n'
    error = failure(relay, *words)
    assert (error["relayCode"], error["message"]) == ("target_ambiguous", 'Multiple threads matched query "thread".')
    assert {match["threadId"] for match in error["details"]["matches"]} == {first, second}


def test_arguments_are_merged_by_rank(shared_hub: HubProcess, channel: str, tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text(json.dumps({"target": channel, "sender": "file", "text": "file"}))
    given = json.dumps({"target": "nowhere", "sender": "json", "text": "json", "idempotency_key": "key"})

    for _ in range(2):
        payload(
            shared_hub, "post_message", "--params-json", given, "--params-file", file, "--text=flag", "--sender", "flag"
        )
    (message,) = shared_hub.client.get("/api/messages", params={"target": channel}).json()["messages"]
    assert (message["sender"], message["text"]) == ("flag", "flag")


def test_a_message_from_a_file_ranks_between_files_and_flags(hub: Hubs, codex: FakeCodex, tmp_path: Path) -> None:
    relay = hub(codex_command=codex.command)
    (thread,) = codex.add_threads(1, "/srv/p")
    params, message = tmp_path / "params.json", tmp_path / "message.txt"
    params.write_text(json.dumps({"threadId": thread, "message": "params"}))
    message.write_text("\ufeffnaïve 🦀\n", encoding="utf-8")

    words = ("relay_send_wait", "--params-file", params, "--message-file", message)
    assert payload(relay, *words)["replyText"] == "echo: naïve 🦀"
    assert payload(relay, *words, "--message", "flag")["replyText"] == "echo: flag"


@pytest.mark.parametrize("text", ["true", "false", "42", "--json"])
def test_a_text_is_a_text_whatever_it_looks_like(shared_hub: HubProcess, channel: str, text: str) -> None:
    payload(shared_hub, "post_message", "--target", channel, "--sender", "42", f"--text={text}")
    words = ("fetch_messages", "--target", channel, "--since-id", "0", "--limit", "5", "--unread", "false")
    (message,) = payload(shared_hub, *words)["messages"]
    assert (message["sender"], message["text"]) == ("42", text)


@pytest.mark.parametrize(
    ("words", "field", "message"),
    [
        (("--limit", "x"), "limit", "limit must be a whole number"),
        (("--limit", "9" * 5000), "limit", "limit must be a whole number"),
        (("--limits", "5"), "limits", "limits is not known here; check its spelling"),
        (("--query",), "query", "query must be a string"),
        (("--unread", "perhaps"), "unread", "unread must be true or false"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_hub(
    shared_hub: HubProcess, words: tuple[str, ...], field: str, message: str
) -> None:
    tool = "search_messages" if field == "query" else "fetch_messages"
    error = failure(shared_hub, tool, *(() if field == "query" else ("--target", "codex")), *words)
    assert (error["relayCode"], error["message"], error["details"]["field"]) == ("bad_request", message, field)


@pytest.mark.parametrize(
    ("option", "content", "complaint"),
    [
        ("--params-json", None, "--params-json is not JSON: "),
        ("--params-file", "[1]", "must be a JSON object"),
        ("--params-file", None, "No such file or directory"),
        ("--message-file", b"\xff", "it is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    shared_hub: HubProcess, tmp_path: Path, option: str, content: str | bytes | None, complaint: str
) -> None:
    file = tmp_path / "given"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = failure(shared_hub, "list_channels", option, file)
    assert error["relayCode"] == "bad_request"
    assert complaint in error["message"]
    assert "json" in option or str(file) in error["message"] or content == "[1]"


def test_an_unknown_tool_is_refused_with_the_names_of_all(shared_hub: HubProcess) -> None:
    error = failure(shared_hub, "relay_nope", "--message", "x")
    assert (error["relayCode"], error["message"]) == ("invalid_command", "Unknown relay CLI command: relay_nope")
    assert error["details"]["commandName"] == "relay_nope"
    assert {"relay_dispatch_status", "post_message"} <= set(error["details"]["supportedCommands"])


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("nope", "--help"), ("--json",)])
def test_usage_is_shown_to_whoever_asks(shared_hub: HubProcess, words: tuple[str, ...]) -> None:
    shown = call(shared_hub, *words)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("usage: relay-hub call TOOL ")
    assert "\n  relay_dispatch_status   How a dispatch stands, and its reply\n" in shown.stdout


def test_the_usage_of_a_tool_shows_its_arguments(shared_hub: HubProcess) -> None:
    shown = call(shared_hub, "relay_dispatch", "--message", "x", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[0] == "usage: relay-hub call relay_dispatch [--ARGUMENT VALUE ...] [options]"
    assert ["--project-id", "string,", "required", "From", "relay_list_projects."] in [line.split() for line in lines]
    assert ["--timeout-sec", "integer"] in [line.split() for line in lines]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("list_channels", "extra"), "Unexpected positional argument: extra"),
        (("list_channels", "extra", "--json"), "Unexpected positional argument: extra"),
        (("list_channels", "--params-file", "--json"), "--params-file needs a value"),
    ],
)
def test_a_line_that_cannot_be_understood_is_answered_with_usage(
    hub: Hubs, words: tuple[str, ...], complaint: str
) -> None:
    told = call(hub.prepare(), *words)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"{complaint}\n\nusage: relay-hub call TOOL ")


def test_where_no_hub_runs_the_address_and_the_remedy_are_named(hub: Hubs) -> None:
    relay = hub()
    relay.stop()
    told = call(relay, "list_channels")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"[hub_unavailable] No hub answers at {relay.url} (")
    assert "relay-hub serve" in told.stderr
    error = failure(relay, "list_channels")
    assert (error["relayCode"], error["details"]) == ("hub_unavailable", {"url": relay.url})
    usage = call(relay, "list_channels", "--help")
    assert (usage.returncode, usage.stderr) == (0, "")
    assert usage.stdout.startswith("usage: relay-hub call TOOL ")


def test_a_url_or_a_settings_file_says_where_the_hub_is(shared_hub: HubProcess, hub: Hubs, tmp_path: Path) -> None:
    elsewhere = hub.prepare()
    for url in (shared_hub.url, f"{shared_hub.url}/", f"{shared_hub.url}/mcp"):
        assert payload(elsewhere, "list_channels", "--url", url)["channels"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"host": "0.0.0.0", "port": shared_hub.port}))
    environ = {name: value for name, value in elsewhere.environ.items() if name != "RELAY_HUB_PORT"}
    found = run(command("list_channels", "--config", file), cwd=elsewhere.folder, environ=environ)
    assert found.returncode == 0, found.stderr
    for wrong in ("ftp://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1:x", "http://", "http://127.0.0.1/ü"):
        assert "is not the URL of a hub" in failure(elsewhere, "list_channels", "--url", wrong)["message"]
    nowhere = failure(elsewhere, "list_channels", "--url", "http://a..b")
    assert nowhere["message"].startswith("No hub answers at http://a..b (")


def test_the_token_is_shown_to_the_hub_and_its_refusal_is_told(hub: Hubs) -> None:
    seen: list[str | None] = []

    async def mcp(request: Request) -> JSONResponse:
        seen.append(request.headers.get("authorization"))
        refusal = {"ok": False, "error": "This token may not call.", "code": "forbidden", "details": {"scope": "post"}}
        return JSONResponse(refusal, 403)

    with serving(Starlette(routes=[Route("/mcp", mcp, methods=["POST"])])) as served:
        words = ("list_channels", "--url", served.url)
        error = failure(hub.prepare(), *words, RELAY_HUB_TOKEN="s3cret")
        assert (error["relayCode"], error["details"]) == ("forbidden", {"scope": "post"})
        failure(hub.prepare(), *words)
    assert seen == ["Bearer s3cret", None]


def test_a_server_that_is_no_hub_is_recognised(hub: Hubs) -> None:
    async def hello(_: Request) -> JSONResponse:
        return JSONResponse(["hello"])

    with serving(Starlette(routes=[Route("/mcp", hello, methods=["POST"])])) as served:
        error = failure(hub.prepare(), "list_channels", "--url", served.url)
    assert error["message"] == f"What answers at {served.url} is no Relay Hub."


def test_a_hub_that_dies_meanwhile_is_told(hub: Hubs, codex: FakeCodex) -> None:
    relay = hub(codex_command=codex.command)
    (thread,) = codex.add_threads(1, "/srv/p")
    words = command("relay_send_wait", "--thread-id", thread, "--message", "delay=60000", "--json")
    environ = {**relay.environ, "RELAY_HUB_PORT": str(relay.port)}
    with subprocess.Popen(words, cwd=relay.folder, env=environ, stdout=subprocess.PIPE) as waiting:
        wait_until(lambda: codex.received("turn/start"), "no turn was started")
        relay.kill()
        output, _ = waiting.communicate(timeout=20)
    error = json.loads(output)
    assert error["relayCode"] == "hub_unavailable"
    assert error["message"].startswith(f"The hub at {relay.url} went away before it answered (")


def test_ctrl_c_leaves_the_dispatch_going_and_says_how_to_look(hub: Hubs, codex: FakeCodex) -> None:
    relay = hub(codex_command=codex.command)
    (thread,) = codex.add_threads(1, "/srv/p")
    words = command("relay_send_wait", "--thread-id", thread, "--message", "delay=3000")
    environ = {**relay.environ, "RELAY_HUB_PORT": str(relay.port)}
    with subprocess.Popen(
        words, cwd=relay.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        wait_until(lambda: codex.received("turn/start"), "no turn was started")
        waiting.send_signal(signal.SIGINT)
        output, told = waiting.communicate(timeout=20)
    assert (waiting.returncode, output) == (130, "")
    assert told.startswith("What the hub has taken goes on without you.")
    (dispatch,) = relay.client.get("/api/dispatches").json()["dispatches"]
    assert relay.dispatch_when(dispatch["dispatchId"])["replyText"] == "echo: delay=3000"


@pytest.fixture
def waiting_tool() -> Iterator[Served]:
    """A server with a tool that says which dispatch is at work, and then never answers unless it is told to."""
    server = MCPServer("waiting", subscriptions=False)

    @server.tool(annotations=ToolAnnotations(read_only_hint=False))
    async def work(ctx: Context, ends: bool = False) -> str:
        await ctx.report_progress(1, None, f"dispatch {DISPATCH} is at work\x9b2J")
        if not ends:
            await asyncio.Event().wait()
        return "done \x9b2J"

    with serving(server.streamable_http_app()) as served:
        yield served


def test_at_a_terminal_a_line_shows_the_wait_and_nothing_can_drive_the_terminal(
    waiting_tool: Served, hub: Hubs
) -> None:
    relay = hub.prepare()
    words = command("work", "--ends", "true", "--url", waiting_tool.url)
    with Terminal(words, relay.folder, relay.environ) as terminal:
        terminal.see("work …")
        terminal.see(f"dispatch {DISPATCH} is at work\\u009b2J")
        terminal.see("done \\u009b2J")
        assert "\x9b" not in terminal.text


def test_ctrl_c_names_the_dispatch_that_the_tool_was_waiting_for(waiting_tool: Served, hub: Hubs) -> None:
    relay = hub.prepare()
    with Terminal(command("work", "--url", waiting_tool.url), relay.folder, relay.environ) as terminal:
        terminal.see("is at work")
        terminal.type("\x03")
        terminal.see(f"relay-hub call relay_dispatch_status --dispatch-id {DISPATCH}")
