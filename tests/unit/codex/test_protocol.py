from typing import Any

import pytest

from app.codex.protocol import Notification, Thread, Turn, TurnLog, TurnResult, reply_of, turn_result


def said(text: str, phase: str | None = None, item_id: str | None = None) -> dict[str, Any]:
    return {"type": "agentMessage", "text": text, "phase": phase, "id": item_id or text}


def item(turn_id: str, **values: Any) -> Notification:
    return Notification("item/completed", {"threadId": "t", "turnId": turn_id, "item": values})


def completed(turn_id: str, **turn: Any) -> Notification:
    return Notification("turn/completed", {"threadId": "t", "turn": {"id": turn_id, "status": "completed", **turn}})


def error(turn_id: str, text: str, will_retry: bool) -> Notification:
    return Notification("error", {"turnId": turn_id, "error": {"message": text}, "willRetry": will_retry})


@pytest.mark.parametrize(
    ("items", "reply"),
    [
        ([said("a", "final_answer"), said("b", "final_answer"), said("c", "commentary")], "b"),
        ([said("a"), said("b", "commentary")], "a"),
        ([said("a"), said("b", "other")], "b"),
        ([said("a", "commentary"), said("b", "commentary")], "b"),
        ([said("a", "final_answer"), said("  \n ", "final_answer")], "a"),
        ([said("  a \n", "final_answer")], "a"),
        ([said(" ")], None),
        ([{"type": "reasoning", "text": "hm"}, {"type": "agentMessage"}], None),
        ([], None),
    ],
)
def test_the_reply_is_the_last_final_answer_else_no_commentary_else_the_last(
    items: list[dict[str, Any]], reply: str | None
) -> None:
    assert reply_of(items) == reply


def test_the_log_takes_the_answer_from_completed_items() -> None:
    log = TurnLog("d/1")
    log.turn_id = "u"
    log.feed(item("u", **said("working", "commentary")))
    log.feed(item("u", **said("done", "final_answer")))
    log.feed(completed("u", items=[]))
    assert log.completed
    assert log.result == TurnResult("u", "completed", "done", None)
    assert log.result.succeeded


def test_the_log_falls_back_to_the_items_of_the_end() -> None:
    log = TurnLog("d/1", "u")
    log.feed(completed("u", items=[said("from the end")]))
    assert log.result.reply == "from the end"


def test_the_last_version_of_an_item_stays_at_its_first_place() -> None:
    log = TurnLog("d/1", "u")
    log.feed(item("u", **said("draft", item_id="1")))
    log.feed(item("u", **said("two", item_id="2")))
    log.feed(item("u", **said("final", item_id="1")))
    assert [entry["text"] for entry in log.items] == ["final", "two"]


def test_acceptance_is_our_message_and_no_other() -> None:
    log = TurnLog("d/1")
    log.feed(item("u", type="userMessage", clientId="d/2", id="1"))
    log.feed(item("u", type="userMessage", clientId=None, id="2"))
    before = log.accepted
    log.feed(item("v", type="userMessage", clientId="d/1", id="3"))
    assert (before, log.accepted, log.turn_id) == (False, True, "v")


def test_what_comes_before_the_answer_to_turn_start_is_kept_and_other_turns_are_not_ours() -> None:
    log = TurnLog("d/1")
    log.feed(item("other", **said("not for us")))
    log.feed(error("other", "not ours", will_retry=False))
    log.feed(completed("other"))
    log.feed(item("u", **said("for us")))
    log.feed(completed("u"))
    before = log.completed
    log.turn_id = "u"
    assert (before, log.completed) == (False, True)
    assert log.result == TurnResult("u", "completed", "for us", None)


def test_an_error_that_is_retried_fails_nothing() -> None:
    log = TurnLog("d/1", "u")
    log.feed(error("u", "Reconnecting... 1/5", will_retry=True))
    log.feed(item("u", **said("done")))
    log.feed(completed("u"))
    assert log.result.succeeded


def test_an_error_for_good_fails_even_a_completed_turn() -> None:
    log = TurnLog("d/1", "u")
    log.feed(error("u", "model exploded", will_retry=False))
    log.feed(completed("u"))
    assert log.result.error == "model exploded"
    assert not log.result.succeeded


def test_the_error_of_the_end_counts_without_a_notification() -> None:
    log = TurnLog("d/1", "u")
    log.feed(completed("u", status="failed", error={"message": "boom"}))
    assert log.result == TurnResult("u", "failed", None, "boom")


def test_a_log_without_an_end_is_in_progress() -> None:
    log = TurnLog("d/1")
    log.feed(Notification("item/completed", {"turnId": 3, "item": "?"}))
    log.feed(Notification("turn/completed", {"turn": None}))
    log.feed(Notification("something/new", {}))
    assert log.result == TurnResult(None, "inProgress", None, None)


@pytest.mark.parametrize(
    ("turn", "ended"),
    [
        ({"status": "inProgress"}, False),
        ({"status": "queued", "completedAt": None}, False),
        ({"status": "running", "completedAt": 1700000000}, True),
        ({"status": "interrupted", "completedAt": None}, True),
        ({"status": "a status of tomorrow"}, True),
        ({}, True),
    ],
)
def test_a_turn_has_ended_with_a_time_or_with_a_status_that_is_not_running(turn: dict[str, Any], ended: bool) -> None:
    assert Turn.parse(turn).ended is ended


def test_a_turn_that_was_read_back_gives_the_same_result() -> None:
    ours = {"type": "userMessage", "clientId": "d/1"}
    turn = Turn.parse({"id": "u", "status": "failed", "items": [ours, said("x")], "error": {"message": "no"}})
    assert turn_result(turn) == TurnResult("u", "failed", "x", "no")
    assert turn.has_message("d/1")
    assert not turn.has_message("d/2")


def test_threads_are_read_whatever_is_missing_or_new() -> None:
    thread = Thread.parse({"id": "t", "status": {"type": "idle"}, "createdAt": 17, "name": None, "new": [1]})
    assert thread == Thread("t", None, "", "", "idle", 17.0, None)
    assert Thread.parse({}).status == "unknown"
