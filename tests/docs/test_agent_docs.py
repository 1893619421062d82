"""What docs/claude.md and docs/codex.md tell users to do is done here, with the real Claude Code and the real Codex."""

import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from markdown_it import MarkdownIt

from app.main import create_app
from app.settings import Settings
from app.tools import catalog
from tests.fakes.model import FakeModel
from tests.support.claude import Claude
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.parts import CHECKOUT, find_program
from tests.support.processes import Finished, run, wait_until
from tests.support.scripts import Script
from tests.support.terminal import Terminal

CLAUDE, CODEX = (CHECKOUT / "docs" / name for name in ("claude.md", "codex.md"))
HUB = "http://127.0.0.1:8010"
ENDLESS = r".*(?:poller_start|auto-loop started).*"


def fences(page: Path) -> Iterator[tuple[str, str, str]]:
    """Every block of code of a page: the heading that it is under, its language, its text."""
    heading = ""
    tokens = MarkdownIt().parse(page.read_text("utf-8"))
    for before, token in itertools.pairwise(tokens):
        if before.type == "heading_open":
            heading = token.content
        if token.type == "fence":
            yield heading, token.info, token.content


def fence(page: Path, heading: str, language: str) -> str:
    (text,) = (text for above, info, text in fences(page) if (above, info) == (heading, language))
    return text


@pytest.fixture(scope="module", autouse=True)
def needed() -> None:
    """What the documents ask users to have."""
    for program in ("bash", "curl", "git", "jq"):
        find_program(program)


@pytest.fixture(scope="module")
def hub() -> Iterator[HubProcess]:
    """One hub for this module: the documents speak of the channel proj-x, which other tests use too."""
    hubs = Hubs()
    yield hubs()
    hubs.end()


class Desk:
    """A user's machine: Claude Code, Codex and a project with a first commit and a change."""

    def __init__(self, hub: HubProcess, claude: Claude, codex: CodexHome) -> None:
        self.hub = hub
        self.claude = claude
        self.codex = codex
        # The user of the documents has set neither approvals nor a sandbox.
        settings = codex.config.read_text("utf-8")
        codex.config.write_text(re.sub(r"^(approval_policy|sandbox_mode) .*\n", "", settings, flags=re.MULTILINE))
        self.project = codex.project
        programs = [find_program("claude").parent, codex.command.parent]
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        self.environ = claude.environ | codex.environ | {"HOME": str(claude.home), "PATH": path}
        # A command that names no hub must not find one that happens to run on this machine.
        self.environ["BASE_URL"] = hub.url
        (self.project / "scripts").symlink_to(CHECKOUT / "scripts")
        (self.project / "greeting.py").write_text('print("hello")\n')
        self.sh("git add greeting.py && git -c user.name=me -c user.email=me@localhost commit -qm first")
        (self.project / "greeting.py").write_text('print("Hello")\n')

    def here(self, text: str) -> str:
        """A text of the documents with the address of the test's hub."""
        return text.replace(HUB, self.hub.url)

    def sh(self, commands: str) -> Finished:
        finished = run(["bash", "-euo", "pipefail", "-c", commands], cwd=self.project, environ=self.environ)
        assert finished.returncode == 0, f"{commands}\n{finished}"
        return finished

    def write(self, name: str, text: str) -> Path:
        file = self.project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self.here(text), "utf-8")
        return file

    def commands(self, page: Path) -> dict[str, str]:
        """Run the shell blocks of a page in their order; what each of them printed. Endless ones are ended."""
        printed = {}
        for _, language, text in fences(page):
            if language != "sh":
                continue
            if "scripts/" in text:
                with Script(["bash", "-c", self.here(text)], self.project, self.environ) as script:
                    script.see(ENDLESS)
                    assert script.end() == 0
                    printed[text] = script.out
            else:
                finished = self.sh(self.here(text))
                printed[text] = finished.stdout + finished.stderr
        return printed

    def register(self) -> None:
        """Both agents know the hub."""
        self.sh(
            f"claude mcp add --transport http relay {self.hub.url}/mcp; codex mcp add relay --url {self.hub.url}/mcp"
        )

    def trust(self) -> None:
        """What Claude Code keeps once a person has answered its questions about the folder and the key."""
        file = self.claude.home / ".claude.json"
        state: dict[str, Any] = json.loads(file.read_text("utf-8"))
        state |= {
            "hasCompletedOnboarding": True,
            "customApiKeyResponses": {"approved": [self.environ["ANTHROPIC_API_KEY"]], "rejected": []},
        }
        state.setdefault("projects", {}).setdefault(str(self.project), {})["hasTrustDialogAccepted"] = True
        file.write_text(json.dumps(state), "utf-8")

    def post(self, text: str, sender: str) -> int:
        body = {"target": "proj-x", "sender": sender, "text": text}
        return int(self.hub.client.post("/api/messages", json=body).json()["posted"])

    def posted(self, sender: str) -> list[str]:
        messages = self.hub.client.get("/api/messages", params={"target": "proj-x"}).json()["messages"]
        return [message["text"] for message in messages if message["sender"] == sender]


@pytest.fixture
def desk(hub: HubProcess, claude: Claude, codex_home: CodexHome) -> Desk:
    return Desk(hub, claude, codex_home)


def calling(tool: str, **arguments: Any) -> str:
    """What makes the fake model call a tool of the hub."""
    return f"[[call mcp__relay|{tool} {json.dumps(arguments)}]]"


# Both pages.


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("docs") / "data"))


@pytest.mark.parametrize("page", [CLAUDE, CODEX], ids=lambda page: page.name)
def test_the_tools_that_a_page_names_exist_with_these_arguments(page: Path, app: FastAPI) -> None:
    tools = {tool.name: tool.schema["properties"] for tool in catalog.tools(app.state.hub)}
    text = page.read_text("utf-8")
    named = set(re.findall(r"\b(?:post|fetch|wait_for|ack|list)_(?:messages?|channels)\b", text))

    assert {"post_message", "fetch_messages"} <= named <= tools.keys()
    for tool, arguments in re.findall(r"`(\w+)\((.*?)\)`", text):
        assert set(re.findall(r"(\w+)=", arguments)) <= tools[tool].keys(), tool


# docs/claude.md


def test_every_command_for_claude_code_runs(desk: Desk) -> None:
    desk.write(".claude/commands/review-packet.md", fence(CLAUDE, "A command that posts it", "markdown"))
    hook = desk.write(".claude/hooks/relay-wait.sh", fence(CLAUDE, "Hooks", "bash"))
    printed = desk.commands(CLAUDE)

    first, *_ = printed
    assert re.search(r"^relay: .* ✔ Connected$", printed[first], re.MULTILINE)
    assert json.loads((desk.project / ".mcp.json").read_text("utf-8"))["mcpServers"]["relay"]["url"].startswith(
        desk.hub.url
    )
    state = json.loads((desk.claude.home / ".claude.json").read_text("utf-8"))
    assert "relay" in state["mcpServers"]
    assert "relay" in state["projects"][str(desk.project)]["mcpServers"]
    assert os.access(hook, os.X_OK)
    assert all(command.startswith(("claude ", "chmod ")) for command in printed)


def test_a_server_of_the_project_waits_for_approval(desk: Desk) -> None:
    (command,) = (text for _, language, text in fences(CLAUDE) if language == "sh" and "--scope project" in text)
    listed = desk.sh(f"{desk.here(command)}\nclaude mcp list").stdout

    assert "⏸ Pending approval" in listed


@pytest.mark.parametrize("allowed", [True, False])
def test_the_permission_lets_claude_code_call_the_hub(desk: Desk, allowed: bool) -> None:
    desk.register()
    desk.trust()
    if allowed:
        desk.write(".claude/settings.json", fence(CLAUDE, "Register the hub", "json"))
    said = f"allowed {allowed}"
    desk.sh(f"claude -p '{calling('post_message', target='proj-x', sender='claude', text=said)}'")

    assert (said in desk.posted("claude")) is allowed


def test_claude_code_reads_the_note(desk: Desk, model: FakeModel) -> None:
    note = fence(CLAUDE, "Say when to post", "markdown")
    desk.write("CLAUDE.md", note)
    desk.sh("claude -p hello")

    assert json.dumps(note.strip())[1:-1] in json.dumps(model.asked[-1].body)


@pytest.mark.parametrize(
    ("page", "heading", "parts"),
    [
        (CLAUDE, "The review packet", ["Summary", "Tests", "Questions for review"]),
        (CODEX, "The feedback", ["Verdict", "Major", "Minor", "Tests", "Questions"]),
    ],
)
def test_a_template_has_its_headings_and_a_diff_that_applies(
    desk: Desk, page: Path, heading: str, parts: list[str]
) -> None:
    template = fence(page, heading, "markdown")
    tokens = MarkdownIt().parse(template)
    (diff,) = (token.content for token in tokens if token.type == "fence" and token.info == "diff")
    assert re.findall(r"^## (.+)$", template, re.MULTILINE) == parts
    before = re.search(r"^-(print.*)$", diff, re.MULTILINE)
    assert before
    (desk.project / "greeting.py").write_text(f"{before[1]}\n")
    desk.write("change.diff", diff)
    desk.sh("git apply --check change.diff")

    desk.post(template, "claude")
    shown = desk.hub.client.get("/channels/proj-x").text.rpartition("<article")[2]
    assert re.search(r'class="[^"]*\bgi\b', shown), "the page does not show an added line as one"


def test_the_slash_command_collects_the_diff_and_posts_without_asking(desk: Desk, model: FakeModel) -> None:
    desk.register()
    command = fence(CLAUDE, "A command that posts it", "markdown")
    desk.write(
        ".claude/commands/review-packet.md",
        f"{command}\n{calling('post_message', target='proj-x', sender='claude', text='the packet')}\n",
    )
    desk.sh('claude -p "/review-packet the error handling"')

    asked = next(asked.prompt.text for asked in model.asked if "Post a review packet" in asked.prompt.text)
    assert "The reviewer should look at: the error handling" in asked
    assert " M greeting.py" in asked
    assert '-print("hello")\n+print("Hello")' in asked
    assert desk.posted("claude")[-1] == "the packet"


def test_claude_code_gets_the_review_by_waiting(desk: Desk) -> None:
    desk.register()
    packet = desk.post("a packet", "claude")
    review = desk.post("a review", "codex")
    arguments = {"target": "proj-x", "since_id": packet, "timeout_sec": 100}
    got = desk.sh(f"claude -p '{calling('wait_for_messages', **arguments)}' --allowedTools mcp__relay")
    post = calling("post_message", target="proj-x", sender="claude", text="the new packet", reply_to=review)
    desk.sh(f"claude -p '{post}' --allowedTools mcp__relay")

    assert [message["id"] for message in json.loads(got.stdout)["messages"]] == [review]
    assert desk.posted("claude")[-1] == "the new packet"


@pytest.mark.parametrize(("command", "reminded"), [("git commit -qam second", True), ("git status", False)])
def test_the_first_hook_reminds_of_the_packet_after_a_commit(
    desk: Desk, model: FakeModel, command: str, reminded: bool
) -> None:
    desk.write(".claude/settings.json", fence(CLAUDE, "Hooks", "json"))
    desk.sh("git config user.name me; git config user.email me@localhost")
    desk.sh(f"claude -p '[[shell {command}]]' --allowedTools Bash")

    assert ("You have committed. Post a review packet" in json.dumps(model.asked[-1].body)) is reminded


def test_the_second_hook_wakes_claude_code_at_its_prompt_once(desk: Desk, model: FakeModel) -> None:
    before = desk.post("an old review", "codex")
    desk.write(".claude/settings.json", fence(CLAUDE, "Hooks", "json"))
    desk.write(".claude/hooks/relay-wait.sh", fence(CLAUDE, "Hooks", "bash")).chmod(0o755)
    desk.write(".claude/relay/last_id", f"{before}\n")
    desk.register()
    desk.trust()

    def woken() -> int:
        return sum("codex has posted" in json.dumps(asked.body["messages"][-2:]) for asked in model.asked)

    with Terminal([find_program("claude")], desk.project, desk.environ) as terminal:

        def waiting() -> int:
            return sum("wait=30" in text for text in terminal.processes)

        terminal.see("❯")
        for turn, text in enumerate(("the first turn", "the second turn"), 1):
            terminal.type(text)
            terminal.see(text)
            terminal.type("\r")
            terminal.see(f"echo: {text}")
            wait_until(lambda turn=turn: waiting() == turn, "no hook waits", timeout=30)  # type: ignore[misc]
        assert woken() == 0
        desk.post("the review", "codex")
        wait_until(woken, "Claude Code was not woken", timeout=30)
        wait_until(lambda: waiting() == 1, "the hook does not wait for the next message", timeout=30)
        assert woken() == 1
    assert f"Call fetch_messages with target proj-x and since_id {before}." in json.dumps(model.asked[-1].body)


def test_the_second_hook_does_not_hold_up_a_run_without_a_terminal(desk: Desk) -> None:
    desk.write(".claude/settings.json", fence(CLAUDE, "Hooks", "json"))
    desk.write(".claude/hooks/relay-wait.sh", fence(CLAUDE, "Hooks", "bash")).chmod(0o755)

    assert desk.sh("claude -p hello").stdout == "echo: hello\n"


# docs/codex.md


def test_every_command_for_codex_runs(desk: Desk) -> None:
    printed = desk.commands(CODEX)

    first, *_ = printed
    assert re.search(rf"^relay +{desk.hub.url}/mcp .* enabled ", printed[first], re.MULTILINE)
    assert (desk.project / ".codex" / "auto-loop.last_id").read_text().strip().isdigit()


def test_the_lines_for_config_toml_do_what_the_command_does(desk: Desk) -> None:
    desk.codex.append(desk.here(fence(CODEX, "Register the hub", "toml")))

    assert re.search(rf"^relay +{desk.hub.url}/mcp .* enabled ", desk.sh("codex mcp list").stdout, re.MULTILINE)


def test_the_lines_of_older_instructions_do_nothing(desk: Desk) -> None:
    desk.codex.append(f'[mcp.claudecodex]\ntransport = "sse"\nurl = "{desk.hub.url}/sse"\n')

    assert "No MCP servers configured" in desk.sh("codex mcp list").stdout


@pytest.mark.parametrize("required", [True, False])
def test_codex_goes_on_without_the_hub_unless_it_is_required(desk: Desk, required: bool) -> None:
    table = fence(CODEX, "Register the hub", "toml").replace(HUB, "http://127.0.0.1:9")
    desk.codex.append(table + ("required = true\n" if required else ""))
    finished = desk.codex.run("exec", "hello")

    assert (finished.returncode, finished.stdout) == ((1, "") if required else (0, "echo: hello\n"))


def test_codex_takes_the_reviewers_prompt_and_gets_no_packet_twice(desk: Desk, model: FakeModel) -> None:
    desk.register()
    packet = desk.post("a packet", "claude")
    wait = calling("wait_for_messages", target="proj-x", reader="codex", timeout_sec=2)
    post = calling("post_message", target="proj-x", sender="codex", text="Verdict: accept")
    ack = calling("ack_messages", target="proj-x", reader="codex", up_to_id=packet)
    text = fence(CODEX, "The reviewer's prompt", "text")
    first = desk.codex.run("exec", "--sandbox", "read-only", f"{text}\n{wait} {post} {ack}")
    second = desk.codex.run("exec", "--sandbox", "read-only", wait)

    assert model.seen(text.strip()) == 1
    waited = next(asked.prompt.results[0] for asked in model.asked if asked.prompt.results)
    assert f'"id":{packet},' in waited
    assert (first.returncode, json.loads(first.stdout)["acked"]) == (0, packet)
    assert desk.posted("codex")[-1] == "Verdict: accept"
    assert (second.returncode, json.loads(second.stdout)["messages"]) == (0, [])


def test_codex_reads_the_note(desk: Desk, model: FakeModel) -> None:
    note = fence(CODEX, "Say it once, in AGENTS.md", "markdown")
    desk.write("AGENTS.md", note)
    desk.codex.run("exec", "hello")

    assert json.dumps(note.strip())[1:-1] in json.dumps(model.asked[-1].body)


def test_the_variables_and_the_prompt_of_the_loop_are_those_of_the_script() -> None:
    page = CODEX.read_text("utf-8")
    script = (CHECKOUT / "scripts" / "auto-review-loop.sh").read_text("utf-8")
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]+?)`? \|", page, re.MULTILINE))
    read = re.findall(r"\$\{([A-Z_]+):?-(.*?)\}", script)

    assert documented == {name: default or "empty" for name, default in read}
    assert (
        "Fetch messages from the proj-x channel (since id 7) sent by claude and review them. Post your feedback" in page
    )


def test_full_auto_is_gone_and_the_sandbox_goes_before_resume(desk: Desk) -> None:
    (started, *_) = desk.codex.exec("hello")
    session = str(started["thread_id"])
    before = desk.codex.run("exec", "--sandbox", "read-only", "resume", session, "more")
    after = desk.codex.run("exec", "resume", session, "--sandbox", "read-only", "more")
    gone = desk.codex.run("exec", "--full-auto", "hello")

    assert (before.returncode, "sandbox: read-only" in before.stderr) == (0, True)
    assert (after.returncode, "unexpected argument '--sandbox'" in after.stderr) == (2, True)
    assert (gone.returncode, "unexpected argument '--full-auto'" in gone.stderr) == (2, True)


def test_codex_exec_asks_nobody_and_wants_a_git_repository(desk: Desk, short_path: Path) -> None:
    outside = short_path / "outside"
    outside.mkdir()
    command = ["codex", "exec", "--sandbox", "read-only", "hello"]
    refused = run(command, cwd=outside, environ=desk.environ)
    taken = run([*command, "--skip-git-repo-check"], cwd=outside, environ=desk.environ)

    assert (refused.returncode, "--skip-git-repo-check was not specified" in refused.stderr) == (1, True)
    assert (taken.returncode, "approval: never" in taken.stderr) == (0, True)


@pytest.fixture
def sandboxed(desk: Desk) -> Desk:
    """Codex's sandbox needs user namespaces, which some machines do not give."""
    finished = desk.codex.run("exec", "--sandbox", "read-only", "[[shell echo it works]]")
    if "it works" not in finished.stdout:
        pytest.skip("Codex cannot make its sandbox on this machine")
    return desk


@pytest.mark.parametrize(
    ("sandbox", "open_network", "reached"),
    [
        ("read-only", False, False),
        ("read-only", True, False),
        ("workspace-write", False, False),
        ("workspace-write", True, True),
    ],
)
def test_the_network_of_a_sandbox(sandboxed: Desk, sandbox: str, open_network: bool, reached: bool) -> None:
    if open_network:
        sandboxed.codex.append(fence(CODEX, "Sandbox and network", "toml"))
    prompt = f"[[shell curl -sm5 {sandboxed.hub.url}/healthz || echo away]]"
    finished = sandboxed.codex.run("exec", "--sandbox", sandbox, prompt)

    assert finished.stdout.strip() == ("ok" if reached else "away")
