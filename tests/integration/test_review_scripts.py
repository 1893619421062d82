"""`scripts/review-poll.sh` and `scripts/auto-review-loop.sh`, and what the seed's own scripts rely on."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.parts import CHECKOUT, find_program
from tests.support.processes import Finished, base_environ, run, wait_until
from tests.support.scripts import Script
from tests.support.serving import serving
from tests.support.terminal import Terminal

POLL = CHECKOUT / "scripts" / "review-poll.sh"
LOOP = CHECKOUT / "scripts" / "auto-review-loop.sh"
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LONG = "1000"
"""An interval that no test can sit out: what ends or prints within it did so at once."""

CODEX_STUB = """\
#!{python}
import json, sys
from pathlib import Path

log = Path(__file__).with_name("codex.log")
call = {{"arguments": sys.argv[1:], "stdin": sys.stdin.read()}}
log.write_text(log.read_text() + json.dumps(call) + "\\n")
print("Codex says \\x1b]0;owned\\x07 hello \\x9b31m", flush=True)
sys.exit(int(Path(__file__).with_name("exit").read_text()))
"""


class Stub:
    """A `codex` on PATH that keeps how it was called and ends with the code that the test wants."""

    def __init__(self, folder: Path, source: str = CODEX_STUB) -> None:
        folder.mkdir()
        self.folder = folder
        self.log = folder / "codex.log"
        self.log.touch()
        self.ends_with(0)
        program = folder / "codex"
        program.write_text(source.format(python=sys.executable), "utf-8")
        program.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line)["arguments"] for line in self.log.read_text("utf-8").splitlines()]

    def ends_with(self, code: int) -> None:
        (self.folder / "exit").write_text(str(code))

    def wait_for_calls(self, count: int) -> list[list[str]]:
        return wait_until(lambda: len(self.calls) >= count and self.calls, f"{self.calls} did not become {count}") or []


@pytest.fixture(scope="module", autouse=True)
def needed() -> None:
    """What the scripts ask users to have."""
    for program in ("bash", "curl", "jq"):
        find_program(program)


@pytest.fixture
def codex(tmp_path: Path) -> Stub:
    return Stub(tmp_path / "bin")


Start = Callable[..., Script]


@pytest.fixture
def start(tmp_path: Path, channel: str) -> Start:
    """Starts a script in a folder of its own. Variables are set by name; None leaves one out."""

    def starts(script: Path, url: str, **variables: str | None) -> Script:
        given: dict[str, str | None] = {
            "BASE_URL": url,
            "LASTFILE": str(lastfile(tmp_path)),
            "TARGET": channel,
            "INTERVAL": "0.1",
        }
        given |= variables
        environ = base_environ(tmp_path) | {name: value for name, value in given.items() if value is not None}
        return Script([script], tmp_path, environ)

    return starts


def lastfile(folder: Path) -> Path:
    return folder / "state" / "last_id"


def saved(folder: Path) -> str:
    file = lastfile(folder)
    return file.read_text() if file.exists() else ""


def post(hub: HubProcess, target: str, text: str, sender: str = "claude") -> int:
    answer = hub.client.post("/api/messages", json={"target": target, "sender": sender, "text": text})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["posted"])


def refused(script: Path, folder: Path, **variables: str) -> Finished:
    environ = base_environ(folder) | {"BASE_URL": "http://127.0.0.1:9", "LASTFILE": str(folder / "last")} | variables
    return run([script], cwd=folder, environ=environ)


def prompt(target: str, last: int, sender: str = "claude") -> str:
    return (
        f"Fetch messages from the {target} channel (since id {last}) sent by {sender} and review them. "
        "Post your feedback back to the same channel."
    )


@pytest.mark.parametrize("script", [POLL, LOOP], ids=lambda path: path.name)
def test_a_script_is_executable_bash(script: Path) -> None:
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


# The poll script.


def test_the_poller_prints_the_seeds_lines(shared_hub: HubProcess, channel: str, start: Start, tmp_path: Path) -> None:
    with start(POLL, shared_hub.url) as poller:
        opening = rf"{ISO} poller_start pid={poller.pid} ppid={os.getpid()} interval=0\.1s base={shared_hub.url} "
        poller.see(rf"{opening}target={channel} sender=claude last=0")
        other = post(shared_hub, channel, "not watched", sender="codex")
        first = post(shared_hub, channel, "the first line\nthe second line")
        poller.see(rf"{ISO} new_messages from claude\n#{first} \[claude\] the first line")
        poller.see(rf"{ISO} heartbeat last={first}")
        assert poller.end() == 0
        assert re.search(rf"^{ISO} poller_term pid={poller.pid}\n\Z", poller.out, re.MULTILINE)
    assert f"#{other} " not in poller.out
    assert "second line" not in poller.out
    assert (saved(tmp_path), poller.err) == (f"{first}\n", "")


def test_every_third_look_has_a_heartbeat(start: Start) -> None:
    asked = 0

    async def answer(request: Request) -> Response:
        nonlocal asked
        asked += 1
        return PlainTextResponse('{"messages": []}')

    with serving(Starlette(routes=[Route("/api/messages", answer)])) as served, start(POLL, served.url) as poller:
        poller.see(rf"(?:{ISO} heartbeat last=0\n){{2}}{ISO} heartbeat last=0")
        poller.end()
        heartbeats = len(re.findall("heartbeat", poller.out))
    # It may have ended between a look and the heartbeat after it.
    assert asked // 3 - heartbeats in (0, 1)


@pytest.mark.parametrize("name", ["BASE_URL", "LASTFILE"])
def test_the_poller_names_what_is_not_set(tmp_path: Path, name: str) -> None:
    finished = refused(POLL, tmp_path, **{name: ""})

    assert (finished.returncode, finished.stdout) == (1, "")
    assert f"{name}: {name} not set" in finished.stderr


@pytest.mark.parametrize("script", [POLL, LOOP], ids=lambda path: path.name)
@pytest.mark.parametrize("interval", ["soon", "0", "0.0", "-1", "1; echo 2"])
def test_an_interval_that_is_no_pause_is_refused(script: Path, tmp_path: Path, codex: Stub, interval: str) -> None:
    finished = refused(script, tmp_path, INTERVAL=interval, PATH=codex.path)

    assert (finished.returncode, finished.stdout) == (1, "")
    assert "INTERVAL must be a number of seconds above 0" in finished.stderr


@pytest.mark.parametrize("script", [POLL, LOOP], ids=lambda path: path.name)
def test_a_lastfile_that_cannot_be_written_is_refused(script: Path, tmp_path: Path, codex: Stub) -> None:
    finished = refused(script, tmp_path, LASTFILE=str(tmp_path), PATH=codex.path)

    assert (finished.returncode, finished.stdout) == (1, "")
    assert "LASTFILE cannot be written" in finished.stderr


def test_the_first_run_prints_the_window_and_the_next_one_only_what_is_newer(
    shared_hub: HubProcess, channel: str, start: Start, tmp_path: Path
) -> None:
    ids = [post(shared_hub, channel, f"before {n}") for n in range(205)]
    with start(POLL, shared_hub.url) as poller:
        poller.see(rf"#{ids[-1]} .*")
    assert re.findall(r"^#(\d+) ", poller.out, re.MULTILINE) == [str(found) for found in ids[-200:]]
    newer = post(shared_hub, channel, "newer")
    with start(POLL, shared_hub.url) as poller:
        poller.see(rf"{ISO} poller_start .* last={ids[-1]}")
        poller.see(rf"#{newer} .*")
    assert re.findall(r"^#(\d+) ", poller.out, re.MULTILINE) == [str(newer)]
    assert saved(tmp_path) == f"{newer}\n"


def test_a_burst_between_two_looks_is_printed_whole_and_in_order(
    shared_hub: HubProcess, channel: str, start: Start, tmp_path: Path
) -> None:
    with start(POLL, shared_hub.url):
        # Having seen the empty channel is a place to go on from, too.
        wait_until(lambda: saved(tmp_path) == "0\n", "the poller did not keep that it has looked")
    ids = [post(shared_hub, channel, str(n), sender) for n in range(225) for sender in ("claude", "codex")][::2]
    with start(POLL, shared_hub.url, INTERVAL=LONG) as poller:
        poller.see(rf"#{ids[-1]} .*")
    assert re.findall(r"^#(\d+) ", poller.out, re.MULTILINE) == [str(found) for found in ids]


@pytest.mark.parametrize(("text", "last"), [("0012\n", 12), ("nonsense", 0), ("1; 2", 0), ("9" * 40, 0), ("", 0)])
def test_a_lastfile_is_read_with_caution(tmp_path: Path, start: Start, text: str, last: int) -> None:
    lastfile(tmp_path).parent.mkdir()
    lastfile(tmp_path).write_text(text)
    with start(POLL, "http://127.0.0.1:9", INTERVAL=LONG) as poller:
        poller.see(rf"{ISO} poller_start .* last={last}")


def test_the_lastfile_is_replaced_and_never_half_written(
    shared_hub: HubProcess, channel: str, start: Start, tmp_path: Path
) -> None:
    lastfile(tmp_path).parent.mkdir()
    lastfile(tmp_path).write_text("0\n")
    old = tmp_path / "old"
    os.link(lastfile(tmp_path), old)
    message = post(shared_hub, channel, "x")
    with start(POLL, shared_hub.url):
        wait_until(lambda: saved(tmp_path) == f"{message}\n", "the poller did not keep the id")
    assert old.read_text() == "0\n"
    assert list(lastfile(tmp_path).parent.iterdir()) == [lastfile(tmp_path)]


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_the_poller_ends_at_once_in_its_pause(
    shared_hub: HubProcess, start: Start, number: int, tmp_path: Path
) -> None:
    with start(POLL, shared_hub.url, INTERVAL=LONG, TMPDIR=str(tmp_path)) as poller:
        wait_until(lambda: "sleep 1000" in poller.children.values(), "the poller never paused")
        assert poller.end(number) == 0
        assert poller.out.splitlines()[-1].endswith(f" poller_term pid={poller.pid}")
    assert not list(tmp_path.glob("tmp.*")), "it left its scratch folder"


@pytest.mark.parametrize("script", [POLL, LOOP], ids=lambda path: path.name)
def test_a_script_ends_at_once_while_the_hub_does_not_answer(start: Start, script: Path, codex: Stub) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with start(script, url, INTERVAL=LONG, PATH=codex.path) as waiting:
            connection, _ = server.accept()
            with connection:
                assert waiting.end() == 0


def test_the_poller_outlives_a_hub_that_is_down(hub: Hubs, channel: str, start: Start) -> None:
    running = hub()
    first = post(running, channel, "before")
    with start(POLL, running.url) as poller:
        poller.see(rf"#{first} .*")
        running.kill()
        wait_until(lambda: "curl: (7)" in poller.err, "the poller did not say that the hub is away")
        running.start()
        second = post(running, channel, "after")
        poller.see(rf"#{second} \[claude\] after")
    assert re.findall(r"^#(\d+) ", poller.out, re.MULTILINE) == [str(first), str(second)]


def broken_off() -> Iterator[bytes]:
    yield b'{"messages": [{"id": 7, "sender": "claude", "te'
    raise ConnectionAbortedError


BAD: list[Callable[[], Response]] = [
    lambda: PlainTextResponse("no", 500),
    lambda: PlainTextResponse("<html>\x1b[31m</html>"),
    lambda: PlainTextResponse(""),
    lambda: PlainTextResponse('{"messages": [{"id": 7, "sender": "claude", "te'),
    lambda: PlainTextResponse('{"messages": [{"id": "$(touch owned)", "sender": "claude", "text": "x"}]}'),
    lambda: PlainTextResponse('{"messages": [{"id": 1e300, "sender": "claude", "text": "x"}]}'),
    lambda: PlainTextResponse('{"messages": [{"id": 7, "sender": "claude"}'),
    lambda: PlainTextResponse('{"messages": [], "has_more": true}'),
    lambda: PlainTextResponse("[]"),
    lambda: StreamingResponse(broken_off(), headers={"Content-Length": "1000"}),
]


@pytest.mark.parametrize(("script", "reacts"), [(POLL, r"#8 \[claude\] good"), (LOOP, r".*\(last=0, new=8\).*")])
def test_half_an_answer_is_no_answer(start: Start, tmp_path: Path, codex: Stub, script: Path, reacts: str) -> None:
    answers = iter(BAD)

    async def answer(request: Request) -> Response:
        good = '{"messages": [{"id": 8, "sender": "claude", "text": "good"}], "has_more": false}'
        return next(answers, lambda: PlainTextResponse(good))()

    app = Starlette(routes=[Route("/api/messages", answer)])
    with serving(app) as served, start(script, served.url, PATH=codex.path) as running:
        running.see(reacts)
        wait_until(lambda: saved(tmp_path) == "8\n", "the id was not kept")
    assert len(re.findall("new.messages", running.out)) == 1
    assert "the answer of the hub cannot be read" in running.err
    assert not (tmp_path / "owned").exists()


def test_nothing_that_a_terminal_obeys_is_printed(shared_hub: HubProcess, channel: str, start: Start) -> None:
    hostile = "".join(map(chr, [*range(1, 10), *range(11, 32), 127, *range(128, 160), *range(0x2028, 0x202F), 0x2066]))
    sender = "clau\u202ede"
    message = post(shared_hub, channel, f"a{hostile}z\u00fc\U0001f642\nmore", sender)
    with start(POLL, shared_hub.url, WATCH_SENDER=sender) as poller:
        poller.see(rf"#{message} \[claude\] a z\u00fc\U0001f642")
    line = next(line for line in poller.out.split("\n") if line.startswith("#"))
    assert not [character for character in line if unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")]


def test_a_channel_may_have_any_name(shared_hub: HubProcess, channel: str, start: Start) -> None:
    target = f"{channel} & a=b #1 50%25 +/ü @x"
    message = post(shared_hub, target, "here")
    with start(POLL, shared_hub.url, TARGET=target) as poller:
        poller.see(rf"#{message} \[claude\] here")


def test_the_default_channel_is_proj_x(start: Start) -> None:
    with start(POLL, "http://127.0.0.1:9", TARGET=None, INTERVAL=None) as poller:
        poller.see(rf"{ISO} poller_start .* interval=20s .* target=proj-x sender=claude last=0")


def test_the_task_of_vs_code_starts_the_poller(shared_hub: HubProcess, tmp_path: Path) -> None:
    tasks = json.loads((CHECKOUT / ".vscode" / "tasks.json").read_text("utf-8"))["tasks"]
    (task,) = (task for task in tasks if task["label"] == "MCP Poller")
    assert (task["isBackground"], task["runOptions"]) == (True, {"runOn": "folderOpen"})

    def here(text: str) -> str:
        return text.replace("${workspaceFolder}", str(CHECKOUT))

    command = [here(part) for part in (task["command"], *task["args"])]
    variables = {name: here(value) for name, value in task["options"]["env"].items()}
    assert variables["BASE_URL"] == "http://127.0.0.1:8010"
    variables |= {"BASE_URL": shared_hub.url, "LASTFILE": str(lastfile(tmp_path))}
    with Script(command, tmp_path, base_environ(tmp_path) | variables) as poller:
        poller.see(rf"{ISO} poller_start .* interval=15s base={shared_hub.url} target=proj-x sender=claude last=0")


# The loop that runs Codex.


def test_codex_is_called_with_the_seeds_prompt(
    shared_hub: HubProcess, channel: str, start: Start, codex: Stub, tmp_path: Path
) -> None:
    with start(LOOP, shared_hub.url, PATH=codex.path) as loop:
        loop.see(f"auto-loop started: target={channel} sender=claude interval=0.1s last=0 session=new")
        post(shared_hub, channel, "not watched", sender="codex")
        first = post(shared_hub, channel, "a packet")
        loop.see(rf"{ISO} new messages from claude \(last=0, new={first}\) — launching Codex")
        wait_until(lambda: saved(tmp_path) == f"{first}\n", "the loop did not keep the id")
        second = post(shared_hub, channel, "another packet")
        loop.see(rf"{ISO} new messages from claude \(last={first}, new={second}\) — launching Codex")
        calls = codex.wait_for_calls(2)
        assert loop.end() == 0
    assert calls == [["exec", "--sandbox", "read-only", prompt(channel, last)] for last in (0, first)]
    assert [json.loads(line)["stdin"] for line in codex.log.read_text().splitlines()] == ["", ""]


@pytest.mark.parametrize(
    ("variables", "arguments"),
    [
        ({"SESSION_ID": "0199"}, ["--sandbox", "read-only", "resume", "0199"]),
        ({"CODEX_ARGS": ""}, []),
        ({"CODEX_ARGS": "-m  * $(id)", "SESSION_ID": "s"}, ["-m", "*", "$(id)", "resume", "s"]),
    ],
)
def test_the_session_and_the_options_of_codex_can_be_chosen(
    shared_hub: HubProcess,
    channel: str,
    start: Start,
    codex: Stub,
    variables: dict[str, str],
    arguments: list[str],
) -> None:
    post(shared_hub, channel, "x")
    with start(LOOP, shared_hub.url, PATH=codex.path, **variables) as loop:
        assert codex.wait_for_calls(1) == [["exec", *arguments, prompt(channel, 0)]]
        loop.see(rf"auto-loop started: .* session={variables.get('SESSION_ID', 'new')}")


def test_the_defaults_of_the_loop_are_the_seeds(start: Start, codex: Stub, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("BASE_URL", "TARGET", "INTERVAL", "LASTFILE"))
    with start(LOOP, "", PATH=codex.path, **nothing) as loop:
        loop.see("auto-loop started: target=proj-x sender=claude interval=20s last=0 session=new")
        assert (tmp_path / ".codex" / "auto-loop.last_id.lock").exists()


def test_what_codex_failed_at_is_tried_again(
    shared_hub: HubProcess, channel: str, start: Start, codex: Stub, tmp_path: Path
) -> None:
    message = post(shared_hub, channel, "x")
    codex.ends_with(3)
    with start(LOOP, shared_hub.url, PATH=codex.path) as loop:
        codex.wait_for_calls(2)
        assert saved(tmp_path) == ""
        assert "Codex failed (exit code 3); the messages after 0 are tried again" in loop.err
        codex.ends_with(0)
        wait_until(lambda: saved(tmp_path) == f"{message}\n", "the loop did not try again")
    assert {tuple(call) for call in codex.calls} == {("exec", "--sandbox", "read-only", prompt(channel, 0))}


def test_a_message_behind_a_burst_of_others_is_not_lost(
    shared_hub: HubProcess, channel: str, start: Start, codex: Stub, tmp_path: Path
) -> None:
    message = post(shared_hub, channel, "the packet")
    for n in range(210):
        post(shared_hub, channel, str(n), sender="codex")
    with start(LOOP, shared_hub.url, PATH=codex.path):
        wait_until(lambda: saved(tmp_path) == f"{message}\n", "the loop did not see the message")
    assert len(codex.calls) == 1


def test_what_codex_prints_cannot_command_the_terminal(
    shared_hub: HubProcess, channel: str, start: Start, codex: Stub
) -> None:
    post(shared_hub, channel, "x")
    with start(LOOP, shared_hub.url, PATH=codex.path) as loop:
        loop.see("Codex says ]0;owned hello 31m")


@pytest.mark.parametrize("locker", ["flock", "perl"])
def test_two_loops_do_not_share_a_lastfile(
    shared_hub: HubProcess, start: Start, codex: Stub, tmp_path: Path, locker: str
) -> None:
    # macOS has no flock.
    programs = ("bash", "curl", "date", "dirname", "jq", "mkdir", "mktemp", "mv", "rm", "sleep", locker)
    for program in programs:
        found = shutil.which(program)
        assert found, program
        (codex.folder / program).symlink_to(found)
    path = str(codex.folder)
    with start(LOOP, shared_hub.url, PATH=path, INTERVAL=LONG) as loop:
        loop.see("auto-loop started: .*")
        with start(LOOP, shared_hub.url, PATH=path) as second:
            assert second.wait() == 1
            assert f"another loop works with {lastfile(tmp_path)}" in second.err
        wait_until(lambda: "sleep 1000" in loop.children.values(), "the loop never paused")
        os.kill(loop.pid, signal.SIGKILL)
        assert loop.wait() == -signal.SIGKILL
        # Its pause outlives it and does not hold the lock.
        with start(LOOP, shared_hub.url, PATH=path) as third:
            third.see("auto-loop started: .*")
        for pid in loop.children:
            os.kill(pid, signal.SIGKILL)


STUBBORN = """\
#!/bin/sh
trap '' TERM
echo here
exec sleep 1000
"""


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_the_loop_takes_its_codex_with_it(
    shared_hub: HubProcess, channel: str, start: Start, tmp_path: Path, number: int
) -> None:
    codex = Stub(tmp_path / "stubborn", STUBBORN)
    post(shared_hub, channel, "x")
    with start(LOOP, shared_hub.url, PATH=codex.path) as loop:
        loop.see("here")
        assert loop.end(number) == 0
        wait_until(lambda: not loop.children, f"these are left: {loop.children}")
    assert saved(tmp_path) == ""


def test_ctrl_c_ends_the_loop_and_its_codex(shared_hub: HubProcess, channel: str, tmp_path: Path) -> None:
    codex = Stub(tmp_path / "stubborn", STUBBORN)
    post(shared_hub, channel, "x")
    environ = base_environ(tmp_path) | {"BASE_URL": shared_hub.url, "TARGET": channel, "PATH": codex.path}
    with Terminal([LOOP], tmp_path, environ) as terminal:
        terminal.see("here")
        terminal.type("\x03")
        wait_until(lambda: not terminal.processes, f"these are left: {terminal.processes}")


def codex_settings(home: CodexHome, hub: HubProcess) -> dict[str, str]:
    """The environment of a user who has registered the hub in Codex and set neither approvals nor a sandbox."""
    home.add_mcp_server("relay", f"{hub.url}/mcp")
    settings = home.config.read_text("utf-8")
    home.config.write_text(re.sub(r"^(approval_policy|sandbox_mode) .*\n", "", settings, flags=re.MULTILINE))
    return home.environ | {"PATH": f"{home.command.parent}{os.pathsep}{os.environ['PATH']}"}


def loop_in_project(home: CodexHome, hub: HubProcess, **variables: str) -> Script:
    environ = codex_settings(home, hub) | {"BASE_URL": hub.url, "INTERVAL": "0.1"} | variables
    return Script([LOOP], home.project, environ)


def does(sender: str, *calls: tuple[str, dict[str, Any]]) -> str:
    """A sender's name that makes the fake model call tools of the hub, for the prompt of the loop is fixed."""
    directives = (f"[[call mcp__relay|{tool} {json.dumps(arguments)}]]" for tool, arguments in calls)
    return f"{sender} {''.join(directives)}"


def test_the_real_codex_reads_the_channel_and_posts_its_feedback(
    shared_hub: HubProcess, channel: str, codex_home: CodexHome
) -> None:
    feedback = {"target": channel, "sender": "codex", "text": "Verdict: yes"}
    sender = does("claude", ("fetch_messages", {"target": channel}), ("post_message", feedback))
    packet = post(shared_hub, channel, "the packet", sender)
    with loop_in_project(codex_home, shared_hub, TARGET=channel, WATCH_SENDER=sender) as loop:
        loop.see(r".*\"posted\":\d+.*", timeout=60)
        kept = codex_home.project / ".codex" / "auto-loop.last_id"
        wait_until(kept.exists, "the loop did not keep the id")
        assert loop.end() == 0
    assert kept.read_text() == f"{packet}\n"
    messages = shared_hub.client.get("/api/messages", params={"target": channel}).json()["messages"]
    assert [(message["sender"], message["text"]) for message in messages] == [
        (sender, "the packet"),
        ("codex", "Verdict: yes"),
    ]
    assert "sandbox: read-only" in loop.out


def test_the_real_codex_goes_on_in_a_session(
    shared_hub: HubProcess, channel: str, codex_home: CodexHome, model: FakeModel
) -> None:
    started = codex_home.exec("remember the word plum")[0]
    post(shared_hub, channel, "the packet")
    session = str(started["thread_id"])
    with loop_in_project(codex_home, shared_hub, TARGET=channel, SESSION_ID=session):
        model.wait_until_seen(prompt(channel, 0), timeout=60)
        wait_until((codex_home.project / ".codex" / "auto-loop.last_id").exists, "Codex did not succeed", timeout=60)
    assert "remember the word plum" in json.dumps(model.asked[-1].body)


def test_the_real_codex_ends_with_the_loop(
    shared_hub: HubProcess, channel: str, codex_home: CodexHome, model: FakeModel
) -> None:
    post(shared_hub, channel, "the packet", sender="claude [[shell sleep 1000]]")
    with loop_in_project(codex_home, shared_hub, TARGET=channel, WATCH_SENDER="claude [[shell sleep 1000]]") as loop:
        wait_until(lambda: "sleep 1000" in loop.children.values(), "Codex never ran its command", timeout=60)
        assert loop.end() == 0
        wait_until(lambda: not loop.children, f"these are left: {loop.children}")
    assert not (codex_home.project / ".codex" / "auto-loop.last_id").exists()


def test_a_real_codex_that_fails_is_run_again(
    shared_hub: HubProcess, channel: str, codex_home: CodexHome, model: FakeModel
) -> None:
    sender = "claude [[http 400 1]]"
    packet = post(shared_hub, channel, "the packet", sender)
    with loop_in_project(codex_home, shared_hub, TARGET=channel, WATCH_SENDER=sender) as loop:
        kept = codex_home.project / ".codex" / "auto-loop.last_id"
        wait_until(kept.exists, "the loop did not try again", timeout=60)
        assert kept.read_text() == f"{packet}\n"
    assert "Codex failed (exit code 1); the messages after 0 are tried again" in loop.err
    assert model.seen(prompt(channel, 0, sender)) == 2


# The seed's scripts, run unchanged against the hub, ask in this way: the target as it is, not encoded, and no cursor.


def as_the_seed_asks(hub: HubProcess, target: str) -> dict[str, Any]:
    curl = ["curl", "-fsS", "--max-time", "10", f"{hub.url}/api/messages?target={target}&limit=200"]
    answer: dict[str, Any] = json.loads(subprocess.run(curl, check=True, capture_output=True, timeout=60).stdout)
    return answer


def test_the_seeds_scripts_find_the_newest_200_messages(shared_hub: HubProcess, channel: str) -> None:
    ids = [post(shared_hub, channel, f"line {n}\nmore", sender) for n in range(101) for sender in ("claude", "codex")]
    answer = as_the_seed_asks(shared_hub, channel)

    assert list(answer) == ["target", "messages"]
    assert [message["id"] for message in answer["messages"]] == ids[-200:]
    last = answer["messages"][-1]
    assert (last["sender"], last["text"]) == ("codex", "line 100\nmore")


@pytest.mark.parametrize("name", ["-team.a:b/c@d", "~(x)!$*,;", '-"a|b^c`'])
def test_the_seeds_scripts_find_a_channel_whose_name_they_do_not_encode(
    shared_hub: HubProcess, channel: str, name: str
) -> None:
    message = post(shared_hub, channel + name, "x")
    answer = as_the_seed_asks(shared_hub, channel + name)

    assert (answer["target"], [found["id"] for found in answer["messages"]]) == (channel + name, [message])


def test_the_seeds_scripts_find_an_empty_channel_empty(shared_hub: HubProcess, channel: str) -> None:
    assert as_the_seed_asks(shared_hub, channel) == {"target": channel, "messages": []}
