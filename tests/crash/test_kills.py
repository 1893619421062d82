"""`kill -9` at any moment: what was acknowledged is there, and what was begun ends in a true state."""

import asyncio
import itertools
import os
import signal
import threading
from typing import Any

import httpx
import pytest

from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until

pytestmark = pytest.mark.anyio


def accept(hub: HubProcess, home: CodexHome, message: str, **more: Any) -> dict[str, Any]:
    return hub.accept(projectId=str(home.project), message=message, createIfMissing=True, **more)


def test_every_acknowledged_message_is_there_once_after_a_kill_under_load(hub: Hubs) -> None:
    running = hub()
    acknowledged: dict[str, int] = {}
    unanswered: set[str] = set()
    enough = threading.Event()

    def body(text: str) -> dict[str, str]:
        return {"target": "load", "sender": "s", "text": text, "idempotency_key": text}

    def post(poster: int) -> None:
        with httpx.Client(base_url=running.url, trust_env=False, timeout=60) as client:
            for n in itertools.count():
                text = f"{poster}/{n}"
                try:
                    answer = client.post("/api/messages", json=body(text))
                except httpx.HTTPError:
                    unanswered.add(text)
                    return
                acknowledged[text] = answer.json()["posted"]
                if len(acknowledged) > 500:
                    enough.set()

    posters = [threading.Thread(target=post, args=(n,)) for n in range(64)]
    for poster in posters:
        poster.start()
    assert enough.wait(60)
    running.kill()
    for poster in posters:
        poster.join(60)
    running.start()
    ids = ids_by_text(running)
    assert acknowledged.items() <= ids.items()
    # What was not answered may be there or not; with its key, asking again settles it.
    again = {text: running.client.post("/api/messages", json=body(text)).json()["posted"] for text in unanswered}
    assert ids_by_text(running) == acknowledged | again
    assert all(number > max(ids.values()) for text, number in again.items() if text not in ids)


def ids_by_text(hub: HubProcess) -> dict[str, int]:
    """All messages of the channel; the test fails where a text is there twice."""
    found: dict[str, int] = {}
    page: dict[str, Any] = {"latest_id": 0, "has_more": True}
    while page["has_more"]:
        page = hub.client.get(f"/api/messages?target=load&since_id={page['latest_id']}").json()
        for message in page["messages"]:
            assert message["text"] not in found
            found[message["text"]] = message["id"]
    return found


def test_a_dispatch_that_was_accepted_and_not_begun_runs_once(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    first = accept(running, codex_home, "[[gate work]] first")
    second = accept(running, codex_home, "second", threadId=first["threadId"])
    model.wait_at_gate("work")
    running.kill()
    model.release("work")
    running.start()
    assert running.dispatch_when(second["dispatchId"])["replyText"] == "echo: second"
    assert model.seen("second") == 1


def test_a_turn_that_was_cut_off_is_reported_and_run_again_only_on_request(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    accepted = accept(running, codex_home, "[[gate work]] careful")
    model.wait_at_gate("work")
    running.kill()
    (app_server,) = running.children
    os.kill(app_server, signal.SIGKILL)
    running.start()
    path = f"/api/dispatches/{accepted['dispatchId']}"
    done = running.dispatch_when(accepted["dispatchId"])
    assert (done["dispatchStatus"], done["errorCode"]) == ("failed", "turn_interrupted")
    assert (done["recoverySuggested"], model.seen("careful")) == ("rerun_turn", 1)
    assert running.client.post("/api/dispatches/recover", json={}).json()["recoveredCount"] == 0
    model.release("work")
    again = running.client.post(f"{path}/recover", json={}).json()
    assert (again["recoveryAction"], again["dispatchStatus"]) == ("rerun_turn", "succeeded")
    assert (again["replyText"], model.seen("careful")) == ("echo: careful", 2)


def test_a_message_that_codex_has_stored_but_does_not_list_yet_is_not_sent_again(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    first = accept(running, codex_home, "first")
    running.dispatch_when(first["dispatchId"])
    with codex_home.listing_of_turns_as_now():
        accepted = accept(running, codex_home, "[[gate work]] touchy", threadId=first["threadId"])
        model.wait_at_gate("work")
        running.kill()
        (app_server,) = running.children
        os.kill(app_server, signal.SIGKILL)
        wait_until(lambda: not running.children, "the app-server is not gone")
    running.start()
    done = running.dispatch_when(accepted["dispatchId"])
    model.release("work")
    assert (done["dispatchStatus"], done["errorCode"]) == ("failed", "turn_interrupted")
    assert model.seen("touchy") == 1


def test_an_app_server_that_dies_is_noticed_at_once_and_its_thread_is_free(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    accepted = accept(running, codex_home, "[[gate work]] doomed")
    model.wait_at_gate("work")
    (app_server,) = [pid for pid, text in running.children.items() if "app-server" in text]
    os.kill(app_server, signal.SIGKILL)
    done = running.dispatch_when(accepted["dispatchId"])
    assert (done["dispatchStatus"], done["errorCode"]) == ("failed", "app_server_unavailable")
    assert model.seen("doomed") == 1
    again = accept(running, codex_home, "again", threadId=accepted["threadId"])
    assert running.dispatch_when(again["dispatchId"])["replyText"] == "echo: again"


def test_the_hub_stops_although_pages_and_agents_wait(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)

    async def wait_for_the_end() -> None:
        async with agent(running) as claude:
            asking = asyncio.create_task(
                claude.client.call_tool(
                    "relay_dispatch",
                    {"projectId": str(codex_home.project), "message": "[[gate work]]", "createIfMissing": True},
                )
            )
            await asyncio.to_thread(model.wait_at_gate, "work")
            await asyncio.to_thread(running.stop, 10, codex_works=True)
            await asyncio.wait([asking])

    with running.client.stream("GET", "/live/channels/proj-x") as page:
        assert page.status_code == 200
        asyncio.run(wait_for_the_end())


@pytest.mark.parametrize("moment_ms", [0, 20, 60, 120, 250])
def test_a_kill_at_any_moment_of_a_turn_leaves_a_true_state_and_never_sends_twice(
    hub: Hubs, codex_home: CodexHome, model: FakeModel, moment_ms: int
) -> None:
    running = hub(**codex_home.settings)
    warm = accept(running, codex_home, "warm")
    running.dispatch_when(warm["dispatchId"])
    accepted = accept(running, codex_home, "[[slow 0.2]] unique", threadId=warm["threadId"])
    threading.Event().wait(moment_ms / 1000)
    running.kill()
    running.start()
    done = running.dispatch_when(accepted["dispatchId"])
    if done["dispatchStatus"] == "succeeded":
        assert done["replyText"] == "echo: unique"
    else:
        assert done["errorCode"] == "turn_interrupted"
    assert model.seen("unique") <= 1
