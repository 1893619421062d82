"""What Codex asks while a turn runs is answered by a human alone, once, and for what was shown."""

import hashlib
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.questions import FILES, FORM
from tests.support.approvals import Desk, activity, answer, listed, owner_key, shown
from tests.support.hub import Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    hubs = Hubs()
    yield Desk(hubs, tmp_path_factory.mktemp("codex") / "fake")
    hubs.end()


@pytest.fixture
def desk(shared_desk: Desk) -> Desk:
    """A hub that many tests share; each of them asks in threads of its own."""
    shared_desk.begin()
    return shared_desk


ASKED: list[tuple[str, str, dict[str, Any], dict[str, Any] | None, Any, Any]] = [
    (
        "push",
        "command",
        {"command": "/bin/bash -lc 'git push origin main'", "cwd": "/srv/p"},
        None,
        {"decision": "accept"},
        {"decision": "decline"},
    ),
    ("files", "files", {"changes": FILES}, None, {"decision": "accept"}, {"decision": "decline"}),
    (
        "permissions",
        "permissions",
        {"cwd": "/srv/p", "reason": "to fetch", "permissions": {"network": {"enabled": True}, "fileSystem": None}},
        None,
        {"permissions": {"network": {"enabled": True}}, "scope": "turn"},
        {"permissions": {}, "scope": "turn"},
    ),
    (
        "tool",
        "tool",
        {
            "serverName": "echo",
            "mode": "form",
            "message": 'Allow the echo MCP server to run tool "shout"?',
            "tool": "shout",
            "arguments": {"text": "hi"},
        },
        None,
        {"action": "accept", "content": {}, "_meta": None},
        {"action": "decline", "content": None, "_meta": None},
    ),
    (
        "form",
        "elicitation",
        {"serverName": "echo", "mode": "form", "message": "Who are you?", "requestedSchema": FORM},
        {"age": 40, "name": "Ada", "tags": ["one"], "agree": True},
        {"action": "accept", "content": {"age": 40, "agree": True, "name": "Ada", "tags": ["one"]}, "_meta": None},
        {"action": "decline", "content": None, "_meta": None},
    ),
    (
        "url",
        "elicitation",
        {
            "serverName": "echo",
            "mode": "url",
            "message": "Log in there",
            "url": "https://example.com/x",
            "elicitationId": "e1",
        },
        None,
        {"action": "accept", "content": None, "_meta": None},
        {"action": "decline", "content": None, "_meta": None},
    ),
]


@pytest.mark.parametrize(("what", "kind", "content", "filled", "yes", "no"), ASKED, ids=[row[0] for row in ASKED])
def test_every_kind_of_question_is_shown_as_it_is_and_answered_in_its_own_form(
    desk: Desk, what: str, kind: str, content: dict[str, Any], filled: Any, yes: Any, no: Any
) -> None:
    dispatches = []
    for decision, told in (("approve", yes), ("deny", no)):
        approval = desk.asked(what)
        dispatches.append(approval["dispatchId"])
        assert (approval["kind"], approval["asked"], approval["status"]) == (kind, content, "pending")
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert approval["digest"] == hashlib.sha256(canonical.encode()).hexdigest()
        dispatch = desk.hub.dispatch(approval["dispatchId"])
        assert (approval["threadId"], approval["turnId"]) == (dispatch["threadId"], dispatch["turnId"])
        assert dispatch["waitingFor"] == "a human has to answer what Codex asks"
        more = {"answer": filled} if decision == "approve" and filled else {}
        taken = answer(desk.hub, approval, decision, **more)
        assert (taken.status_code, taken.json()["answeredBy"]) == (200, "owner")
        done = desk.hub.dispatch_when(approval["dispatchId"])
        assert (done["dispatchStatus"], done["waitingFor"]) == ("succeeded", None)
        assert desk.answers[-1] == told
        assert shown(desk.hub, approval["approvalId"])["usedAt"]
    events = activity(desk.hub, "approval_asked") + activity(desk.hub, "approval_answered")
    events = [event for event in events if event["dispatch"] in dispatches]
    assert [event["dispatch"] for event in events] == dispatches * 2
    assert [event.get("status") for event in events] == [None, None, "approved", "denied"]
    page = desk.hub.client.get(f"/dispatches/{dispatches[0]}").text
    assert "approval asked" in page
    assert "approved by owner" in page


def test_questions_of_codex_are_answered_in_its_own_form_and_secrets_are_not_kept(desk: Desk) -> None:
    approval = desk.asked("input")
    half = answer(desk.hub, approval, answer={"color": "Red"})
    assert (half.status_code, half.json()["details"]["field"]) == (400, "pass")
    assert answer(desk.hub, approval, answer={"color": "Green", "pass": "sesame"}).status_code == 200
    desk.reply(approval["dispatchId"])
    assert desk.answers == [{"answers": {"color": {"answers": ["Green"]}, "pass": {"answers": ["sesame"]}}}]
    with closing(sqlite3.connect(desk.hub.folder.parent / "data" / "relay-hub.db")) as database:
        of = (approval["approvalId"],)
        ((kept,),) = database.execute("SELECT answer FROM approval WHERE id = ?", of).fetchall()
    assert json.loads(kept) == {"color": "Green", "pass": "(not kept)"}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Ada"}, "age"),
    ({"age": 200, "name": "Ada"}, "age"),
    ({"age": 1.5, "name": "Ada"}, "age"),
    ({"age": True, "name": "Ada"}, "age"),
    ({"age": 1, "name": "A"}, "name"),
    ({"age": 1, "name": ["Ada"]}, "name"),
    ({"age": 1, "name": "Ada", "color": "green"}, "color"),
    ({"age": 1, "name": "Ada", "tags": ["one", "two", "three"]}, "tags"),
    ({"age": 1, "name": "Ada", "agree": "yes"}, "agree"),
    ({"age": 1, "name": "Ada", "other": 1}, "other"),
]


def test_what_is_filled_in_has_to_fit_the_form(desk: Desk) -> None:
    approval = desk.asked("form")
    for wrong, field in WRONG:
        refused = answer(desk.hub, approval, answer=wrong)
        assert (refused.status_code, refused.json()["details"]["field"]) == (400, field)
    assert shown(desk.hub, approval["approvalId"])["status"] == "pending"
    assert answer(desk.hub, approval, "deny").is_success
    desk.reply(approval["dispatchId"])


def test_an_answer_counts_once_and_for_what_was_shown_alone(desk: Desk) -> None:
    approval = desk.asked("push")
    other = answer(desk.hub, {**approval, "digest": "0" * 64})
    assert (other.status_code, other.json()["code"]) == (409, "approval_settled")
    assert shown(desk.hub, approval["approvalId"])["status"] == "pending"
    assert answer(desk.hub, approval, "deny").status_code == 200
    for decision in ("approve", "deny"):
        late = answer(desk.hub, approval, decision)
        assert (late.status_code, late.json()["details"]["status"]) == (409, "denied")
    assert "[decline]" in desk.reply(approval["dispatchId"])
    assert desk.answers == [{"decision": "decline"}]
    # The same command again is another question.
    again = desk.asked("push")
    assert again["digest"] == approval["digest"]
    assert again["approvalId"] != approval["approvalId"]
    assert answer(desk.hub, again).status_code == 200
    assert "[accept]" in desk.reply(again["dispatchId"])


@pytest.mark.parametrize("what", ["nofiles", "strange", "unknown", "foreign", "huge"])
def test_what_nobody_could_be_shown_is_declined_at_once(desk: Desk, what: str) -> None:
    done = desk.hub.dispatch_when(desk.ask(what))
    assert done["dispatchStatus"] == "succeeded"
    assert "accept" not in done["replyText"]
    assert listed(desk.hub, dispatchId=done["dispatchId"]) == []
    assert f"of thread {done['threadId']}" in desk.hub.log


def test_without_an_answer_in_time_it_is_a_no(hub: Hubs, tmp_path: Path) -> None:
    desk = Desk(hub, tmp_path / "fake", approval_timeout_sec=0.5)
    dispatch_id = desk.ask("push")
    assert "[decline]" in desk.reply(dispatch_id)
    (approval,) = listed(desk.hub)
    assert (approval["status"], approval["answeredBy"], approval["usedAt"]) == ("expired", "relay-hub", None)
    assert answer(desk.hub, approval).json()["details"]["status"] == "expired"


def test_where_the_settings_say_never_nobody_is_asked(hub: Hubs, tmp_path: Path) -> None:
    desk = Desk(hub, tmp_path / "fake", projects='{"/srv": {"approval": "never"}}')
    assert "[decline]" in desk.reply(desk.ask("push"))
    assert listed(desk.hub) == []
    started = desk.codex.received("turn/start")[0]["params"]
    assert (started["approvalPolicy"], started["sandboxPolicy"]["type"]) == ("never", "workspaceWrite")


@pytest.mark.parametrize(
    ("what", "told", "by"),
    [
        ("status", {"decision": "accept"}, "rule: git status"),
        ("push", {"decision": "decline"}, "rule: git push"),
    ],
)
def test_a_rule_of_the_settings_answers_without_a_human(
    hub: Hubs, tmp_path: Path, what: str, told: dict[str, str], by: str
) -> None:
    desk = Desk(hub, tmp_path / "fake", codex_allow="git status,git", codex_deny="git push")
    assert f"[{told['decision']}]" in desk.reply(desk.ask(what))
    (approval,) = listed(desk.hub)
    assert (approval["answeredBy"], desk.answers) == (by, [told])
    assert approval["usedAt"]
    assert [event["by"] for event in activity(desk.hub, "approval_answered")] == [by]
    sneaky = desk.asked("sneaky")
    assert answer(desk.hub, sneaky, "deny").is_success


def test_a_dispatch_that_is_cancelled_takes_its_question_back(desk: Desk) -> None:
    approval = desk.asked("push")
    desk.hub.client.post(f"/api/dispatches/{approval['dispatchId']}/cancel", json={})
    assert desk.hub.dispatch_when(approval["dispatchId"])["dispatchStatus"] == "cancelled"
    assert shown(desk.hub, approval["approvalId"])["status"] == "withdrawn"
    assert answer(desk.hub, approval).status_code == 409
    assert {"decision": "accept"} not in desk.answers


def test_a_question_that_codex_takes_back_is_withdrawn_and_not_answered(hub: Hubs, tmp_path: Path) -> None:
    desk = Desk(hub, tmp_path / "fake", {"resolve_ms": 300})
    dispatch_id = desk.ask("push")
    assert desk.hub.dispatch_when(dispatch_id)["dispatchStatus"] == "succeeded"
    (approval,) = listed(desk.hub)
    assert approval["status"] == "withdrawn"
    assert desk.answers == []


def test_when_the_app_server_dies_its_question_is_withdrawn(hub: Hubs, tmp_path: Path) -> None:
    desk = Desk(hub, tmp_path / "fake")
    approval = desk.asked("push")
    os.kill(desk.codex.starts()[-1]["pid"], signal.SIGKILL)
    assert desk.hub.dispatch_when(approval["dispatchId"])["dispatchStatus"] == "failed"
    assert shown(desk.hub, approval["approvalId"])["status"] == "withdrawn"
    assert answer(desk.hub, approval).status_code == 409


def test_questions_that_wait_hold_up_nobody_else(desk: Desk) -> None:
    (thread_id,) = desk.codex.add_threads(1, "/srv/p")
    asking = [desk.ask("push") for _ in range(5)]
    wait_until(lambda: len(listed(desk.hub, status="pending")) == 5, "five questions did not come")
    assert (
        desk.hub.dispatch_when(desk.hub.accept(projectId="/srv/p", threadId=thread_id, message="hello")["dispatchId"])[
            "replyText"
        ]
        == "echo: hello"
    )
    pending = [each["approvalId"] for each in listed(desk.hub, status="pending")]
    paged: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = desk.hub.client.get("/api/approvals", params={"status": "pending", "limit": "2", **cursor}).json()
        paged += [each["approvalId"] for each in page["approvals"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert paged == pending
    for approval in listed(desk.hub, status="pending"):
        assert answer(desk.hub, approval, "approve" if approval["dispatchId"] == asking[0] else "deny").is_success
    replies = [desk.reply(dispatch_id) for dispatch_id in asking]
    assert ["[accept]" in reply for reply in replies] == [True, False, False, False, False]


@pytest.mark.anyio
async def test_an_agent_has_no_door_to_approve_by(desk: Desk) -> None:
    approval = desk.asked("push")
    path = f"/api/approvals/{approval['approvalId']}"
    # On a hub without tokens every program is an agent.
    refused = answer(desk.hub, approval, token="")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert refused.json()["details"]["scope"] == "approve"
    wrong = answer(desk.hub, approval, token="rh_of-nobody")
    assert wrong.status_code in (401, 403)
    forms = {"content-type": "application/x-www-form-urlencoded", "origin": desk.hub.url}
    for door in (f"/approvals/{approval['approvalId']}/approve?digest={approval['digest']}", path):
        taken = desk.hub.client.post(door, content="decision=approve", headers=forms)
        assert taken.status_code in (403, 415)
    async with agent(desk.hub) as codex:
        assert not [tool.name for tool in (await codex.client.list_tools()).tools if "approv" in tool.name]
    assert shown(desk.hub, approval["approvalId"])["status"] == "pending"
    assert desk.answers == []


def test_over_the_api_what_is_wrong_is_said(desk: Desk) -> None:
    key = {"Authorization": f"Bearer {owner_key(desk.hub)}"}
    client = desk.hub.client
    for path in ("/api/approvals/none", "/api/approvals/%00"):
        assert client.get(path).json()["code"] == "approval_not_found"
        body = {"decision": "deny", "digest": "x"}
        assert client.post(path, json=body, headers=key).json()["code"] == "approval_not_found"
    for query in ("status=maybe", "cursor=%00", "limit=x", "dispatchId="):
        assert client.get(f"/api/approvals?{query}").status_code == 400, query
    assert client.get("/api/approvals?cursor=unknown").json() == {"approvals": [], "nextCursor": None}
    approval = desk.asked("push")
    for body in ({}, {"decision": "maybe", "digest": "x"}, {"decision": "deny"}, {"decision": "deny", "digest": 1}):
        assert client.post(f"/api/approvals/{approval['approvalId']}", json=body, headers=key).status_code == 400
    assert answer(desk.hub, approval, answer={"more": 1}).status_code == 400
