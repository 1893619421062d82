"""Two hubs on one PostgreSQL: peers that see each other's work and take it over."""

import os
import signal
from typing import Any

import pytest

from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent

pytestmark = pytest.mark.anyio


async def test_what_one_hub_is_told_the_other_one_shows_and_pushes(hub: Hubs, postgres_url: str) -> None:
    first, second = (hub(database_url=postgres_url) for _ in range(2))
    with second.client.stream("GET", "/live/channels/proj-x?after=0") as page:
        lines = page.iter_lines()
        async with agent(first) as claude:
            posted = await claude.call("post_message", target="proj-x", sender="claude", text="hello over there")
        told = next(line for line in lines if line.startswith("id: "))
    assert told == f"id: {posted['posted']}"
    (message,) = second.client.get("/api/messages").json()["messages"]
    assert message["text"] == "hello over there"


def test_what_postgresql_cannot_hold_is_refused_or_not_found_as_with_sqlite(hub: Hubs, postgres_url: str) -> None:
    client = hub(database_url=postgres_url).client
    for path, status in (
        ("/api/messages?target=%00", 200),
        ("/api/messages?target=%ff", 200),
        ("/api/dispatches/%00", 404),
        ("/api/dispatches?cursor=999999999999999999", 200),
        ("/channels/%00", 404),
        ("/dispatches/%00", 404),
    ):
        assert client.get(path).status_code == status, path
    for field in ("target", "sender", "text"):
        body = {"target": "c", "sender": "s", "text": "t"} | {field: "a\0b"}
        assert client.post("/api/messages", json=body).status_code == 400


@pytest.mark.parametrize("codex_dies_too", [True, False])
def test_a_hub_that_dies_is_inherited_by_the_other(
    hub: Hubs, postgres_url: str, codex_home: CodexHome, model: FakeModel, codex_dies_too: bool
) -> None:
    settings: dict[str, Any] = {**codex_home.settings, "database_url": postgres_url, "lease_sec": 2}
    first, second = (hub(**settings) for _ in range(2))
    body = {"projectId": str(codex_home.project), "message": "[[gate work]] once", "createIfMissing": True}
    begun = first.accept(**body)
    waiting = {"projectId": str(codex_home.project), "threadId": begun["threadId"], "message": "then this"}
    model.wait_at_gate("work")
    follower = first.accept(**waiting)
    # Either may have claimed it: the one whose Codex works is the one to die.
    worker, heir = (first, second) if is_working(first) else (second, first)
    worker.kill()
    if codex_dies_too:
        (app_server,) = worker.children
        os.kill(app_server, signal.SIGKILL)
    model.release("work")

    done = heir.dispatch_when(begun["dispatchId"])
    if codex_dies_too:
        assert (done["dispatchStatus"], done["errorCode"]) == ("failed", "turn_interrupted")
    else:
        assert (done["dispatchStatus"], done["replyText"]) == ("succeeded", "echo: once")
    assert heir.dispatch_when(follower["dispatchId"])["replyText"] == "echo: then this"
    assert model.seen("once") == 1
    assert model.seen("then this") == 1


def is_working(hub: HubProcess) -> bool:
    (dispatch,) = (
        each for each in hub.client.get("/api/dispatches").json()["dispatches"] if each["dispatchStatus"] == "running"
    )
    log = (hub.folder.parent / "log" / "activity.log").read_text()
    return f'dispatch_started {{"id": "{dispatch["dispatchId"]}"' in log
