"""What a dispatch's page makes of the steps of a turn, and what may be done."""

import time
from typing import Any

import pytest

from app.dispatch.recovery import standing
from app.models import CallbackStatus, Dispatch, DispatchStatus, Origin, TurnItem
from app.ui.story import actions, is_open, output, plan, tokens


def item(text: str, status: str = "completed") -> TurnItem:
    return TurnItem(dispatch_id="d", item_id="i", position=0, kind="command", title="make", text=text, status=status)


def dispatch(**values: Any) -> Dispatch:
    standard = {"origin": Origin.ASYNC, "home": "h", "project_id": "/p", "thread_id": "t", "thread_name": "n"}
    return Dispatch(**(standard | {"resolution": "thread_id", "message": "do it"} | values))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", 0)),
        ("out", ("out", 0)),
        ("out\n(exit code 2)", ("out", 2)),
        ("\n(exit code 127)", ("", 127)),
        ("(exit code -9)", ("", -9)),
        ("(exit code 3)\nsaid the program", ("(exit code 3)\nsaid the program", 0)),
    ],
)
def test_the_exit_code_of_a_command_is_told_from_its_output(text: str, expected: tuple[str, int]) -> None:
    assert output(item(text)) == expected


def test_long_output_begins_closed_unless_it_is_of_interest_now() -> None:
    long = "line\n" * 50
    assert not is_open(item(long))
    assert is_open(item("short"))
    assert is_open(item(long, "inProgress"))
    assert is_open(item(long, "failed"))


def test_a_plan_is_a_list_of_steps_with_their_states() -> None:
    assert plan("[x] read\n[>] write [x]\n[ ] test\nother words") == [
        ("done", "read"),
        ("now", "write [x]"),
        ("open", "test"),
        ("", "other words"),
    ]


@pytest.mark.parametrize("usage", [None, "", "{", "[1]", "{}"])
def test_tokens_that_are_not_known_are_none(usage: str | None) -> None:
    assert set(tokens(usage).values()) == {0}


def test_tokens_come_by_name() -> None:
    assert tokens('{"totalTokens": 7}')["totalTokens"] == 7


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["cancel"]),
        ({"status": DispatchStatus.RUNNING}, ["cancel"]),
        ({"status": DispatchStatus.RUNNING, "cancel_requested_at": 1.0}, []),
        ({"status": DispatchStatus.TIMED_OUT, "turn_id": "turn"}, ["cancel", "recover"]),
        ({"status": DispatchStatus.SUCCEEDED, "finished_at": 1.0}, []),
        ({"status": DispatchStatus.FAILED, "finished_at": 1.0, "error_code": "turn_interrupted"}, ["recover"]),
        ({"status": DispatchStatus.CANCELLED, "finished_at": 1.0}, []),
    ],
)
def test_buttons_are_what_may_be_done(values: dict[str, Any], expected: list[str]) -> None:
    assert [action.path for action in actions(standing(dispatch(**values), set()))] == expected


@pytest.mark.parametrize(
    ("status", "label"), [("pending", "Deliver callback again"), ("failed", "Retry callback"), ("delivered", None)]
)
def test_a_callback_that_did_not_arrive_may_be_sent_again(status: str, label: str | None) -> None:
    ended = dispatch(
        status=DispatchStatus.SUCCEEDED,
        finished_at=time.time(),
        callback_thread_id="caller",
        callback_status=CallbackStatus(status),
    )
    found = actions(standing(ended, set()))
    assert [action.label for action in found] == ([label] if label else [])
    assert all(action.path == "deliver" for action in found)
