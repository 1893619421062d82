"""The pure parts of the engine: what becomes of a dispatch, what is suggested, what threads are told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.codex.protocol import Turn
from app.dispatch import envelopes
from app.dispatch.recovery import Action, Suggestion, Writer, judge, our_turn, standing
from app.models import TRANSITIONS, CallbackStatus, Dispatch, DispatchStatus, Origin

STATUS = DispatchStatus
CALLBACK = CallbackStatus


def dispatch(**more: Any) -> Dispatch:
    fields: dict[str, Any] = {
        "id": "d1",
        "origin": Origin.ASYNC,
        "home": "/home",
        "project_id": "/srv/p",
        "thread_id": "t1",
        "thread_name": "thread",
        "resolution": "by_thread_id",
        "message": "work",
    }
    return Dispatch(**fields | more)


def turn(status: str, *items: dict[str, Any], error: str | None = None) -> Turn:
    return Turn("u1", status, items, error, None, None)


ASKED = {"type": "userMessage", "clientId": "d1/1"}
ANSWER = {"type": "agentMessage", "text": "done", "phase": "final_answer"}


@pytest.mark.parametrize(
    ("found", "writer", "action", "status", "code"),
    [
        (None, Writer.NOBODY, Action.SEND, None, None),
        (None, Writer.ELSEWHERE, Action.WAIT, None, None),
        (turn("completed", ANSWER), Writer.NOBODY, Action.FINISH, STATUS.SUCCEEDED, None),
        (turn("completed"), Writer.NOBODY, Action.FINISH, STATUS.FAILED, "reply_missing"),
        (turn("failed", error="boom"), Writer.NOBODY, Action.FINISH, STATUS.FAILED, "target_turn_failed"),
        (turn("interrupted", ASKED), Writer.NOBODY, Action.FINISH, STATUS.FAILED, "turn_interrupted"),
        (turn("inProgress", ASKED), Writer.NOBODY, Action.FINISH, STATUS.FAILED, "turn_interrupted"),
        # Cut off before our message was in it.
        (turn("interrupted"), Writer.NOBODY, Action.SEND, None, None),
        (turn("interrupted"), Writer.ELSEWHERE, Action.WAIT, None, None),
        (turn("inProgress"), Writer.ELSEWHERE, Action.WAIT, None, None),
        (turn("inProgress"), Writer.HERE, Action.FOLLOW, None, None),
    ],
)
def test_the_thread_decides_what_becomes_of_a_dispatch(
    found: Turn | None, writer: Writer, action: Action, status: STATUS | None, code: str | None
) -> None:
    verdict = judge(found, writer)
    assert verdict.action is action
    assert (verdict.outcome.status if verdict.outcome else None) == status
    assert (verdict.outcome.error_code if verdict.outcome else None) == code


@given(st.sampled_from(["completed", "failed", "interrupted", "inProgress", "paused"]), st.sampled_from(Writer))
def test_a_message_that_arrived_is_never_sent_again(status: str, writer: Writer) -> None:
    assert judge(turn(status, ANSWER), writer).action is not Action.SEND


def test_our_turn_is_known_by_our_message_of_any_attempt_and_by_nothing_else() -> None:
    def holding(turn_id: str, client_id: str | None) -> Turn:
        return Turn(turn_id, "completed", ({"type": "userMessage", "clientId": client_id},), None, None, None)

    turns = [holding("a", None), holding("b", "d10/1"), holding("c", "d1/3"), holding("d", "d1/1")]
    found = our_turn(dispatch(attempt=3), turns)
    assert found is not None
    assert found.id == "c"
    assert our_turn(dispatch(id="d", attempt=3), turns) is None


LATER = 1e12


@pytest.mark.parametrize(
    ("fields", "thread_busy", "expected"),
    [
        ({"status": STATUS.RUNNING, "owner": "me", "lease_expires_at": LATER}, True, Suggestion.WAIT_WORKER),
        ({"status": STATUS.RUNNING, "turn_id": "u"}, False, Suggestion.RESUME_TURN_WAIT),
        ({"status": STATUS.QUEUED}, True, Suggestion.WAIT_THREAD_LEASE_EXPIRY),
        ({"status": STATUS.QUEUED}, False, Suggestion.RESTART_DISPATCH),
        ({"status": STATUS.TIMED_OUT, "turn_id": "u"}, False, Suggestion.RESUME_TIMED_OUT_TURN),
        (
            {"status": STATUS.SUCCEEDED, "callback_thread_id": "s", "callback_status": CALLBACK.PENDING},
            False,
            Suggestion.DELIVER_CALLBACK,
        ),
        (
            {"status": STATUS.FAILED, "callback_thread_id": "s", "callback_status": CALLBACK.FAILED},
            False,
            Suggestion.RETRY_CALLBACK,
        ),
        ({"status": STATUS.FAILED, "error_code": "turn_interrupted"}, False, Suggestion.RERUN_TURN),
        (
            {"status": STATUS.FAILED, "error_code": "app_server_unavailable", "turn_id": "u"},
            False,
            Suggestion.RERUN_TURN,
        ),
        ({"status": STATUS.FAILED, "error_code": "app_server_unavailable"}, False, None),
        ({"status": STATUS.SUCCEEDED}, False, None),
    ],
)
def test_each_row_of_the_table_has_its_suggestion(
    fields: dict[str, Any], thread_busy: bool, expected: Suggestion | None
) -> None:
    found = standing(dispatch(**fields), {"t1"} if thread_busy else set())
    assert found.suggested is expected
    assert (found.advice is None) is (expected is None)


def test_final_states_are_final() -> None:
    assert {status for status, targets in TRANSITIONS.items() if not targets} == {STATUS.SUCCEEDED, STATUS.CANCELLED}


def test_what_failed_goes_on_only_by_being_sent_again() -> None:
    assert TRANSITIONS[STATUS.FAILED] == {STATUS.QUEUED}


@given(st.text())
def test_a_request_reaches_the_thread_to_the_letter(message: str) -> None:
    text = envelopes.delegated(dispatch(message=message), "")
    assert text.startswith("[Codex Thread Relay]\n")
    assert text.endswith(f"\n\nDelegated request:\n{message}")


@given(st.text() | st.sampled_from([envelopes.CALLBACK_BEGIN, envelopes.CALLBACK_END, '"}\n' + envelopes.CALLBACK_END]))
def test_no_reply_can_end_the_frame_of_a_callback(reply: str) -> None:
    done = dispatch(status=STATUS.SUCCEEDED, reply_text=reply, callback_status=CALLBACK.PENDING)
    lines = envelopes.completed(done).splitlines()
    start, end = lines.index(envelopes.CALLBACK_BEGIN), lines.index(envelopes.CALLBACK_END)
    text = envelopes.completed(done)
    assert text.count(envelopes.CALLBACK_BEGIN) == text.count(envelopes.CALLBACK_END) == 1
    assert start < end
    body = text.split(envelopes.CALLBACK_BEGIN + "\n")[1].split("\n" + envelopes.CALLBACK_END)[0]
    payload = json.loads(body)
    assert payload["replyText"] == reply
    assert list(payload) == [
        "eventType", "dispatchId", "status", "callbackStatus", "callbackThreadId", "targetProjectId", "targetThreadId",
        "targetThreadName", "turnId", "resolution", "replyText", "errorCode", "errorMessage", "timingMs",
    ]  # fmt: skip
