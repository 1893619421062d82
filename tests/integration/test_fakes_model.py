"""What the fake model does beyond what the real agents show in their own tests."""

import json
import threading
from typing import Any

import httpx
import pytest

from tests.fakes.directives import Step, parse
from tests.fakes.model import FakeModel


def ask(model: FakeModel, text: str) -> httpx.Response:
    """Ask as Claude Code asks without a stream."""
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}]}
    return httpx.post(f"{model.url}/v1/messages", json=body, timeout=30, trust_env=False)


def said(response: httpx.Response) -> str:
    return "".join(block["text"] for block in response.json()["content"])


def test_directives_are_told_from_the_text_around_them() -> None:
    call = Step("call", "mcp__relay|post", {"text": "a ]] b", "list": [[1]]})

    steps, rest = parse('please [[gate a]][[call mcp__relay|post {"text": "a ]] b", "list": [[1]]}]] [[now]]')

    assert steps == [Step("gate", "a"), call]
    assert call.tool == ("mcp__relay", "post")
    assert rest == "please  [[now]]"


def test_an_unclosed_directive_is_a_mistake_of_the_test() -> None:
    with pytest.raises(ValueError, match="not closed"):
        parse("[[reply half")


def test_a_refusal_may_be_limited_to_the_first_times(model: FakeModel) -> None:
    answers = [ask(model, "[[http 503 2]] hello") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert said(answers[-1]) == "echo: hello"
    assert model.seen("hello") == 3


def test_a_gate_holds_each_answer_until_it_is_released_from_outside(model: FakeModel) -> None:
    answers: list[str] = []
    askers = [
        threading.Thread(target=lambda n=n: answers.append(said(ask(model, f"[[gate g]] {n}")))) for n in range(3)
    ]
    for asker in askers:
        asker.start()
    model.wait_at_gate("g", times=3)
    assert answers == []

    httpx.post(f"{model.url}/gates/g", trust_env=False)

    for asker in askers:
        asker.join()
    assert sorted(answers) == ["echo: 0", "echo: 1", "echo: 2"]


def test_a_slow_answer_comes_in_pieces(model: FakeModel) -> None:
    request = {"input": [{"role": "user", "content": "[[slow 0.3]] [[reply abc]]"}], "stream": True}

    response = httpx.post(f"{model.url}/v1/responses", json=request, trust_env=False)

    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    assert [event["delta"] for event in events if "delta" in event] == ["a", "b", "c"]


def test_the_server_stops_while_answers_hang() -> None:
    request = {"input": [{"role": "user", "content": "[[hang]]"}], "stream": True}
    broken = threading.Event()

    def hang() -> None:
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{model.url}/v1/responses", json=request, timeout=30, trust_env=False)
        broken.set()

    with FakeModel() as model:
        asker = threading.Thread(target=hang)
        asker.start()
        model.wait_until_seen("[[hang]]")
    asker.join(10)

    assert broken.is_set()
