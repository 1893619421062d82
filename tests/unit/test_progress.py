"""What is kept of a turn while it runs: bounded, in order, and only what changed is stored again."""

import json
from typing import Any

from app.codex.protocol import Notification
from app.dispatch.progress import MOST_ITEMS, MOST_TEXT, Progress, shortened
from app.models import TurnItem


def fed(progress: Progress, method: str, **params: Any) -> tuple[list[TurnItem], dict[str, Any]]:
    progress.feed(Notification(method, params))
    return progress.taken()


def item(progress: Progress, **fields: Any) -> TurnItem:
    (found,), _ = fed(progress, "item/completed", item={"id": "i1", **fields})
    return found


def test_a_message_grows_with_its_deltas_and_ends_as_codex_says() -> None:
    progress = Progress("d")
    for delta in ("Hel", "lo"):
        (message,), _ = fed(progress, "item/agentMessage/delta", itemId="m", delta=delta)
    assert (message.kind, message.text, message.status) == ("message", "Hello", "inProgress")
    (message,), _ = fed(progress, "item/completed", item={"id": "m", "type": "agentMessage", "text": "Hello!"})
    assert (message.text, message.status, message.position) == ("Hello!", "completed", 0)
    assert not progress.is_dirty


def test_what_an_earlier_worker_stored_keeps_its_place_and_grows_on() -> None:
    known = TurnItem(dispatch_id="d", item_id="m", position=3, kind="message", text="Hel", status="inProgress")
    (message,), _ = fed(Progress("d", [known]), "item/agentMessage/delta", itemId="m", delta="lo")
    assert (message.position, message.text) == (3, "Hello")


def test_a_long_text_keeps_its_beginning_and_its_end_however_it_comes() -> None:
    text = "a" * MOST_TEXT + "b" * MOST_TEXT
    progress = Progress("d")
    for start in range(0, len(text), 777):
        (output,), _ = fed(progress, "item/commandExecution/outputDelta", itemId="c", delta=text[start : start + 777])
    assert output.text == shortened(text, MOST_TEXT)
    assert output.text.startswith("aaa")
    assert output.text.endswith("bbb")
    assert f"… {MOST_TEXT} characters left out …" in output.text
    assert len(output.text) < MOST_TEXT + 50


def test_a_command_is_shown_without_its_shell_and_with_what_became_of_it() -> None:
    command = {"type": "commandExecution", "command": "/bin/bash -lc 'ls -l'", "aggregatedOutput": "no\n"}
    found = item(Progress("d"), **command, exitCode=2, status="failed")
    assert (found.kind, found.title, found.text, found.status) == ("command", "ls -l", "no\n\n(exit code 2)", "failed")
    assert item(Progress("d"), **{**command, "command": "echo 'half"}).title == "echo 'half"


def test_changes_of_files_are_one_diff() -> None:
    changes = [
        {"path": "new.txt", "kind": {"type": "add"}, "diff": "one\ntwo\n"},
        {"path": "old.txt", "kind": {"type": "delete"}, "diff": "gone\n"},
        {"path": "kept.txt", "kind": {"type": "update"}, "diff": "@@ -1 +1 @@\n-a\n+b\n"},
    ]
    found = item(Progress("d"), type="fileChange", changes=changes, status="completed")
    assert found.title == "new.txt, old.txt, kept.txt"
    assert found.text == (
        "--- /dev/null\n+++ new.txt\n@@ -0,0 +1,2 @@\n+one\n+two\n"
        "--- old.txt\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-gone\n"
        "--- kept.txt\n+++ kept.txt\n@@ -1 +1 @@\n-a\n+b"
    )


def test_the_plan_is_one_item_with_a_mark_for_each_step() -> None:
    steps = [{"step": "look", "status": "completed"}, {"step": "write", "status": "inProgress"}, {"step": "test"}]
    (plan,), _ = fed(Progress("d"), "turn/plan/updated", plan=steps)
    assert (plan.kind, plan.text, plan.status) == ("plan", "[x] look\n[>] write\n[ ] test", "inProgress")


def test_tokens_of_all_answers_of_the_turn_are_added_up() -> None:
    progress = Progress("d")
    last = {"inputTokens": 10, "cachedInputTokens": 4, "outputTokens": 5, "totalTokens": 15}
    for _ in range(2):
        _, values = fed(progress, "thread/tokenUsage/updated", tokenUsage={"last": last, "modelContextWindow": 1000})
    assert json.loads(values["usage"]) == {
        "inputTokens": 20,
        "cachedInputTokens": 8,
        "outputTokens": 10,
        "totalTokens": 30,
        "contextWindow": 1000,
    }


def test_more_items_than_are_kept_do_no_harm() -> None:
    progress = Progress("d")
    for number in range(MOST_ITEMS + 5):
        message = {"id": f"m{number}", "type": "agentMessage", "text": "x"}
        progress.feed(Notification("item/completed", {"item": message}))
    stored, _ = progress.taken()
    assert len(stored) == MOST_ITEMS


def test_what_could_not_be_stored_is_stored_next_time() -> None:
    progress = Progress("d")
    _, values = fed(progress, "turn/diff/updated", diff="--- a")
    progress.not_stored(values)
    assert progress.taken() == ([], {"diff": "--- a"})


def test_whatever_a_future_codex_sends_is_taken_or_passed_over() -> None:
    progress = Progress("d")
    for params in ({}, {"item": None}, {"item": {"type": "novel", "id": "n"}}, {"item": {"type": 7}}, {"plan": 3}):
        for method in ("item/started", "item/completed", "turn/plan/updated", "turn/diff/updated", "novel/event"):
            progress.feed(Notification(method, params))
    stored, _ = progress.taken()
    assert {entry.kind for entry in stored} <= {"novel", "plan"}


def test_text_that_no_database_takes_is_mended() -> None:
    found = item(Progress("d"), type="agentMessage", text="a\0b\ud800c")
    assert found.text == "a\ufffdb?c"
