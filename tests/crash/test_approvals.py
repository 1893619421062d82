"""A question outlives the hub that asked it, and any hub on the database may take its answer."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.codex import FakeCodex
from tests.support.approvals import PROJECT, Desk, answer, listed, shown, waiting
from tests.support.hub import Hubs
from tests.support.processes import wait_until


def asked_again(codex: FakeCodex, times: int) -> None:
    """Return once Codex has asked so often."""

    def count() -> bool:
        frames = [entry["out"] for entry in codex.log() if "out" in entry]
        return sum("requestApproval" in str(frame.get("method")) for frame in frames) >= times

    wait_until(count, f"Codex did not ask {times} times")


@pytest.mark.parametrize("what", ["push", "files"])
def test_a_hub_that_is_killed_leaves_its_question_to_the_next_one(hub: Hubs, tmp_path: Path, what: str) -> None:
    desk = Desk(hub, tmp_path / "fake")
    approval = desk.asked(what)
    desk.hub.kill()
    desk.hub.start()
    asked_again(desk.codex, 2)
    desk.hub.dispatch_when(approval["dispatchId"], values=["running"])
    assert [each["approvalId"] for each in listed(desk.hub)] == [approval["approvalId"]]
    assert answer(desk.hub, approval).status_code == 200
    assert "[accept]" in desk.reply(approval["dispatchId"])
    assert desk.answers == [{"decision": "accept"}]
    (only,) = listed(desk.hub)
    assert (only["status"], only["digest"]) == ("approved", approval["digest"])


def test_a_question_whose_time_is_over_while_no_hub_runs_is_a_no(hub: Hubs, tmp_path: Path) -> None:
    desk = Desk(hub, tmp_path / "fake", approval_timeout_sec=2)
    approval = desk.asked("push")
    desk.hub.kill()
    desk.hub.start()
    assert "[decline]" in desk.reply(approval["dispatchId"])
    assert shown(desk.hub, approval["approvalId"])["status"] == "expired"


def two_hubs(hub: Hubs, folder: Path, url: str) -> tuple[FakeCodex, Any, Any]:
    codex = FakeCodex(folder, trusted=[PROJECT])
    settings: dict[str, Any] = {"codex_command": codex.command, "database_url": url, "lease_sec": 2}
    settings["codex_home"] = folder / "home"
    return codex, hub(**settings), hub(**settings)


def test_another_hub_on_the_database_takes_the_answer(hub: Hubs, postgres_url: str, tmp_path: Path) -> None:
    codex, *hubs = two_hubs(hub, tmp_path / "fake", postgres_url)
    for other in hubs:
        (thread_id,) = codex.add_threads(1, PROJECT)
        body = {"projectId": PROJECT, "threadId": thread_id, "message": "mode=approval ask=push"}
        dispatch_id = str(hubs[0].accept(**body)["dispatchId"])
        approval = waiting(other, dispatch_id)
        assert answer(other, approval, "deny").status_code == 200
        assert "[decline]" in hubs[0].dispatch_when(dispatch_id)["replyText"]
        assert [each["status"] for each in listed(hubs[0], dispatchId=dispatch_id)] == ["denied"]


def test_what_another_hub_was_told_while_the_first_was_dead_counts_when_codex_asks_again(
    hub: Hubs, postgres_url: str, tmp_path: Path
) -> None:
    codex, *hubs = two_hubs(hub, tmp_path / "fake", postgres_url)
    (thread_id,) = codex.add_threads(1, PROJECT)
    body = {"projectId": PROJECT, "threadId": thread_id, "message": "mode=approval ask=push"}
    dispatch_id = str(hubs[0].accept(**body)["dispatchId"])
    approval = waiting(hubs[0], dispatch_id)
    claimed = hubs[0].client.get(f"/dispatches/{dispatch_id}").text
    first, second = hubs if f"{hubs[0].environ['RELAY_HUB_NODE']}:" in claimed else hubs[::-1]
    first.kill()
    assert answer(second, approval).status_code == 200
    assert shown(second, approval["approvalId"])["usedAt"] is None
    first.start()
    assert "[accept]" in first.dispatch_when(dispatch_id)["replyText"]
    (only,) = listed(second, dispatchId=dispatch_id)
    assert (only["approvalId"], only["status"]) == (approval["approvalId"], "approved")
    assert only["usedAt"]
