"""The fake model speaks well enough for the real Codex."""

import json

import pytest

from tests.fakes.model import FakeModel
from tests.support.app_server_client import AppServerClient
from tests.support.codex import CodexHome


def messages(events: list[dict[str, object]]) -> list[str]:
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if isinstance(item, dict) and item["type"] == "agent_message"]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("hello there", ["echo: hello there"]),
        ("[Envelope]\nrules\n\nDelegated request:\nwhat is up?", ["echo: what is up?"]),
        ("[[reply exactly this]]", ["exactly this"]),
        ("[[commentary I think]] [[slow 0.2]] [[reply done]]", ["I think", "done"]),
        ("[[shell printf one; printf two]]", ["onetwo"]),
        ("[[shell echo 1]] [[commentary now]] [[shell echo 2]] [[reply end]]", ["now", "end"]),
        ("[[big 100000]]", ["0123456789" * 10_000]),
        ("[[silent]]", []),
    ],
)
def test_codex_does_what_the_prompt_directs(codex_home: CodexHome, prompt: str, said: list[str]) -> None:
    events = codex_home.exec(prompt)

    assert messages(events) == said
    assert events[-1]["type"] == "turn.completed"


@pytest.mark.parametrize("prompt", ["[[http 500]]", "[[fail server_error]]", "[[drop]]"])
def test_a_turn_fails_where_the_prompt_directs_it(codex_home: CodexHome, prompt: str) -> None:
    assert codex_home.exec(prompt)[-1]["type"] == "turn.failed"


def test_codex_reads_the_instructions_of_the_project_and_the_fake_still_finds_the_message(
    codex_home: CodexHome, model: FakeModel
) -> None:
    (codex_home.project / "AGENTS.md").write_text("[[reply not this]]", "utf-8")

    assert messages(codex_home.exec("hello")) == ["echo: hello"]
    assert model.seen("hello") == 1


def test_a_turn_stands_at_a_gate_until_it_is_released(codex_home: CodexHome, model: FakeModel) -> None:
    with AppServerClient(codex_home) as server:
        thread = server.request("thread/start", cwd=str(codex_home.project))["thread"]["id"]
        message = [{"type": "text", "text": "[[gate held]] [[reply let go]]"}]
        server.request("turn/start", threadId=thread, input=message)
        model.wait_at_gate("held")
        assert server.request("thread/read", threadId=thread)["thread"]["status"]["type"] == "active"

        model.release("held")
        turn = server.wait_for(lambda line: line.get("method") == "turn/completed")["params"]["turn"]

    assert [item["text"] for item in turn["items"]] == ["let go"]


def test_each_turn_of_a_thread_answers_its_own_message(codex_home: CodexHome, model: FakeModel) -> None:
    with AppServerClient(codex_home) as server:
        thread = server.request("thread/start", cwd=str(codex_home.project))["thread"]["id"]
        server.turn(thread, "[[shell echo first]]")
        second = server.turn(thread, "[[shell echo second]]")

    assert [item["text"].strip() for item in second["items"]] == ["second"]
    assert (model.seen("echo first"), model.seen("echo second")) == (1, 1)


def test_an_interrupted_turn_leaves_the_next_one_its_own_message(codex_home: CodexHome, model: FakeModel) -> None:
    with AppServerClient(codex_home) as server:
        thread = server.request("thread/start", cwd=str(codex_home.project))["thread"]["id"]
        message = [{"type": "text", "text": "[[hang]]"}]
        turn = server.request("turn/start", threadId=thread, input=message)["turn"]["id"]
        model.wait_until_seen("[[hang]]")
        server.request("turn/interrupt", threadId=thread, turnId=turn)
        ended = server.wait_for(lambda line: line.get("method") == "turn/completed")
        assert ended["params"]["turn"]["status"] == "interrupted"

        after = server.turn(thread, "are you there?")

    assert [item["text"] for item in after["items"]] == ["echo: are you there?"]


def test_codex_calls_an_mcp_tool(codex_home: CodexHome, echo_server: str) -> None:
    codex_home.add_mcp_server("relay", f"{echo_server}/mcp")
    argument = json.dumps({"text": "brackets ]] inside"})

    (said,) = messages(codex_home.exec(f"[[call mcp__relay|echo {argument}]]"))
    assert "heard: brackets ]] inside" in said
