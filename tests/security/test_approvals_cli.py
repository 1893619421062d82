"""The terminal of the hub's owner: what is asked, shown so that it cannot deceive, and answered."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.approvals import Desk, owner_key, shown
from tests.support.hub import Hubs
from tests.support.processes import Finished, run


@pytest.fixture
def desk(hub: Hubs, tmp_path: Path) -> Desk:
    return Desk(hub, tmp_path / "fake")


def relay_hub(desk: Desk, *words: str, **environ: str) -> Finished:
    command = [sys.executable, "-m", "app", *words, "--port", str(desk.hub.port)]
    return run(command, cwd=desk.hub.folder, environ=desk.hub.environ | environ)


def test_the_owner_lists_shows_and_answers(desk: Desk) -> None:
    assert relay_hub(desk, "approvals").stdout == "Codex asks nothing.\n"
    approval = desk.asked("files")
    listed = relay_hub(desk, "approvals").stdout
    assert listed.split()[:3] == [approval["approvalId"], "pending", "files"]
    assert "/srv/p/new.txt, /srv/p/code.py" in listed
    for words in (("show", approval["approvalId"]), ("approve", approval["approvalId"])):
        told = relay_hub(desk, "approvals", *words)
        assert told.returncode == 0, told.stderr
        assert "  -old\n  +new\n" in told.stdout
    assert "answeredBy   owner" in told.stdout
    assert "[accept]" in desk.reply(approval["dispatchId"])
    late = relay_hub(desk, "approvals", "deny", approval["approvalId"])
    assert (late.returncode, "approved by owner already" in late.stderr) == (2, True)
    assert relay_hub(desk, "approvals").stdout == "Codex asks nothing.\n"
    everything = json.loads(relay_hub(desk, "approvals", "--all", "--json").stdout)
    assert [each["approvalId"] for each in everything["approvals"]] == [approval["approvalId"]]


def test_questions_are_answered_with_an_object(desk: Desk) -> None:
    approval = desk.asked("input")
    wrong = relay_hub(desk, "approvals", "approve", approval["approvalId"], "--answer", "{")
    assert (wrong.returncode, "--answer is not JSON" in wrong.stderr) == (2, True)
    answer = json.dumps({"color": "Red", "pass": "sesame"})
    assert relay_hub(desk, "approvals", "approve", approval["approvalId"], "--answer", answer).returncode == 0
    desk.reply(approval["dispatchId"])
    assert desk.answers == [{"answers": {"color": {"answers": ["Red"]}, "pass": {"answers": ["sesame"]}}}]


def test_what_is_asked_cannot_drive_the_terminal_or_look_like_something_else(desk: Desk) -> None:
    approval = desk.asked("odd")
    for words in ((), ("show", approval["approvalId"]), ("--json",)):
        told = relay_hub(desk, "approvals", *words).stdout
        assert "\\u202e" in told
        assert "\\u001b[31mhi" in told
        assert not set("\x1b\u202e") & set(told)


def test_without_the_key_or_with_a_token_that_is_none_nobody_answers(desk: Desk) -> None:
    approval = desk.asked("push")
    assert owner_key(desk.hub)
    refused = relay_hub(desk, "approvals", "approve", approval["approvalId"], RELAY_HUB_TOKEN="rh_nobody")
    assert refused.returncode == 2
    other = relay_hub(desk, "approvals", "--data-dir", str(desk.hub.folder / "other"))
    assert (other.returncode, "There is no key in" in other.stderr) == (2, True)
    assert relay_hub(desk, "approvals", "show").returncode == 2
    assert shown(desk.hub, approval["approvalId"])["status"] == "pending"
