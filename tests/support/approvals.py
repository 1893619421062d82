"""A hub on a scripted Codex that asks, and the human who answers."""

import json
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.codex import FakeCodex
from tests.support.hub import HubProcess, Hubs
from tests.support.processes import wait_until

PROJECT = "/srv/p"


class Desk:
    """The hub, the Codex behind it, and the one who may say yes."""

    def __init__(self, hubs: Hubs, folder: Path, knobs: dict[str, Any] | None = None, **settings: Any) -> None:
        self.codex = FakeCodex(folder, **{"trusted": [PROJECT], **(knobs or {})})
        self.hub: HubProcess = hubs(codex_command=self.codex.command, **settings)
        self._before = 0

    def begin(self) -> None:
        """Forget what Codex was answered before this test."""
        self._before = len(_results(self.codex))

    @property
    def answers(self) -> list[Any]:
        """What Codex was answered in this test, in order."""
        return _results(self.codex)[self._before :]

    def ask(self, what: str, **more: Any) -> str:
        """A dispatch whose turn asks this, in a thread of its own; its id."""
        (thread_id,) = self.codex.add_threads(1, PROJECT)
        body = {"projectId": PROJECT, "threadId": thread_id, "message": f"mode=approval ask={what}"}
        return str(self.hub.accept(**body, **more)["dispatchId"])

    def asked(self, what: str, **more: Any) -> dict[str, Any]:
        """The question, once the dispatch that asks it waits for its answer."""
        return waiting(self.hub, self.ask(what, **more))

    def reply(self, dispatch_id: str) -> str:
        """What the turn has replied: the answer as Codex got it."""
        return str(self.hub.dispatch_when(dispatch_id)["replyText"])


def _results(codex: FakeCodex) -> list[Any]:
    heard = (entry["in"] for entry in codex.log() if "in" in entry)
    return [frame["result"] for frame in heard if "result" in frame]


def listed(hub: HubProcess, **query: str) -> list[dict[str, Any]]:
    answer = hub.client.get("/api/approvals", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["approvals"]
    return found


def waiting(hub: HubProcess, dispatch_id: str, timeout: float = 30) -> dict[str, Any]:
    """The question of a dispatch that waits for an answer."""
    complaint = f"dispatch {dispatch_id} asks nothing: {hub.dispatch(dispatch_id)}"
    return wait_until(lambda: listed(hub, status="pending", dispatchId=dispatch_id), complaint, timeout)[0]


def shown(hub: HubProcess, approval_id: str) -> dict[str, Any]:
    found: dict[str, Any] = hub.client.get(f"/api/approvals/{approval_id}").json()
    return found


def owner_key(hub: HubProcess) -> str:
    """The key of whoever owns the hub's data folder."""
    return (hub.folder.parent / "data" / "owner-key").read_text().strip()


def answer(
    hub: HubProcess, approval: dict[str, Any], decision: str = "approve", token: str | None = None, **more: Any
) -> httpx.Response:
    """Answer over the API; as the owner, unless another token is given."""
    token = owner_key(hub) if token is None else token
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {"decision": decision, "digest": approval["digest"], **more}
    return hub.client.post(f"/api/approvals/{approval['approvalId']}", json=body, headers=headers)


def activity(hub: HubProcess, event: str) -> list[dict[str, Any]]:
    """The fields of an event in the activity log."""
    lines = (hub.folder.parent / "log" / "activity.log").read_text().splitlines()
    return [json.loads(line.partition(f" INFO {event} ")[2]) for line in lines if f" INFO {event} " in line]
