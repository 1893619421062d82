"""Dispatches on the real Codex, after they were accepted: stopped, told again, recovered, and watched meanwhile."""

import asyncio
import json
from typing import Any

import pytest

from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import Agent, agent
from tests.support.processes import wait_until

pytestmark = pytest.mark.anyio


async def thread(caller: Agent, codex_home: CodexHome, name: str) -> str:
    made = await caller.call("relay_create_thread", projectId=str(codex_home.project), name=name)
    return str(made["threadId"])


def accept(hub: HubProcess, codex_home: CodexHome, message: str, name: str = "work", **more: Any) -> str:
    accepted = hub.accept(
        projectId=str(codex_home.project), message=message, threadName=name, createIfMissing=True, **more
    )
    return str(accepted["dispatchId"])


def turns(model: FakeModel) -> int:
    return sum(asked.is_new for asked in model.asked)


def post(hub: HubProcess, path: str, **body: Any) -> dict[str, Any]:
    answer = hub.client.post(f"/api/dispatches/{path}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_running_turn_is_interrupted_and_its_thread_is_free(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    first = accept(running, codex_home, "[[gate never]] long work")
    model.wait_at_gate("never")
    assert post(running, f"{first}/cancel")["dispatchStatus"] == "cancelled"
    ended = running.dispatch(first)
    assert (ended["errorCode"], ended["cancelRequestedAt"] is not None) == ("dispatch_cancelled", True)
    second = accept(running, codex_home, "[[reply next]]")
    assert running.dispatch_when(second)["replyText"] == "next"
    # What has ended stays as it is.
    assert post(running, f"{second}/cancel")["dispatchStatus"] == "succeeded"


def test_a_queued_dispatch_is_cancelled_and_never_starts(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)
    first = accept(running, codex_home, "[[gate first]] one")
    model.wait_at_gate("first")
    second = accept(running, codex_home, "two")
    assert post(running, f"{second}/cancel")["dispatchStatus"] == "cancelled"
    model.release("first")
    running.dispatch_when(first)
    third = accept(running, codex_home, "three")
    assert running.dispatch_when(third)["dispatchStatus"] == "succeeded"
    assert model.seen("two") == 0


async def test_the_same_key_is_one_dispatch_and_another_request_under_it_is_refused(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    project = str(codex_home.project)
    asked = {"projectId": project, "message": "once", "createIfMissing": True, "idempotencyKey": "k1"}
    async with agent(running) as claude:
        first = await claude.call("relay_dispatch_async", **asked)
        again = await claude.call("relay_dispatch_async", **asked)
        refused = await claude.fail("relay_dispatch_async", **{**asked, "message": "another"})
        listed = await claude.call("relay_list_threads", projectId=project)
    assert again["dispatchId"] == first["dispatchId"]
    assert (refused["relayCode"], refused["dispatchId"]) == ("idempotency_conflict", first["dispatchId"])
    running.dispatch_when(first["dispatchId"])
    assert model.seen("once") == 1
    assert len(listed["threads"]) == 1


async def test_a_busy_thread_is_refused_to_whoever_does_not_want_to_queue(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    first = accept(running, codex_home, "[[gate held]] one")
    model.wait_at_gate("held")
    thread_id = running.dispatch(first)["threadId"]
    async with agent(running) as claude:
        refused = await claude.fail(
            "relay_dispatch_async",
            projectId=str(codex_home.project),
            threadId=thread_id,
            message="two",
            queueIfBusy=False,
        )
    assert (refused["relayCode"], refused["activeDispatchId"]) == ("target_busy", first)
    model.release("held")
    assert running.dispatch_when(first)["dispatchStatus"] == "succeeded"


async def test_a_channel_is_told_once_with_a_link_to_the_dispatch(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    done = accept(running, codex_home, "[[reply all is well]]", callbackChannel="proj-x")
    failed = accept(running, codex_home, "[[http 400]]", callbackChannel="proj-x")
    running.dispatch_when(failed)
    async with agent(running) as claude:
        page = await claude.call("fetch_messages", target="proj-x")
    first, second = page["messages"]
    assert (first["text"], first["sender"], first["dispatch_id"]) == ("all is well", "codex", done)
    assert (second["sender"], second["dispatch_id"]) == ("relay-hub", failed)
    assert "target_turn_failed" in second["text"]


async def test_a_timeout_is_told_and_the_end_once_more(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        source = await thread(claude, codex_home, "source")
    late = accept(
        running,
        codex_home,
        "[[gate late]] [[reply at last]]",
        timeoutSec=1,
        callbackThreadId=source,
        callbackChannel="news",
    )
    running.dispatch_when(late, values=["timed_out"])
    told = running.dispatch_when(late, "callbackStatus", ["delivered"])
    assert told["dispatchStatus"] == "timed_out"
    model.release("late")
    running.dispatch_when(late, values=["succeeded"])
    wait_until(lambda: model.seen("[Codex Relay Callback]") == 2, "the end was not told")
    done = running.dispatch_when(late, "callbackStatus", ["delivered"])
    assert (done["replyText"], done["errorCode"]) == ("at last", None)
    calls = [asked.prompt.text for asked in model.asked if "[Codex Relay Callback]" in asked.prompt.text]
    events = [json.loads(call.split("_JSON\n")[1].rpartition("\nEND")[0]) for call in calls]
    assert [event["status"] for event in events] == ["timed_out", "succeeded"]
    assert [event["callbackStatus"] for event in events] == ["pending", "pending"]
    texts = [row["text"] for row in running.client.get("/api/messages?target=news").json()["messages"]]
    assert len(texts) == 2
    assert "past its time limit" in texts[0]
    assert texts[1] == "at last"


async def test_deliver_and_recover_as_their_tables_say(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)
    nobody = "01a1fe2b-0000-7000-8000-000000000000"
    async with agent(running) as claude:
        source = await thread(claude, codex_home, "source")
        other = await thread(claude, codex_home, "other")
        early = accept(running, codex_home, "[[gate early]] one", name="early")
        model.wait_at_gate("early")
        too_early = await claude.call("relay_dispatch_deliver", dispatchId=early, callbackThreadId=source)
        assert (too_early["callbackStatus"], too_early["callbackThreadId"]) == ("not_requested", source)
        assert running.dispatch(early)["callbackThreadId"] is None
        recovered = await claude.call("relay_dispatch_recover", dispatchId=early)
        assert (recovered["recoveryAction"], recovered["dispatchStatus"]) == ("wait_worker", "running")
        model.release("early")
        running.dispatch_when(early)

        untold = await claude.fail("relay_dispatch_deliver", dispatchId=early)
        assert untold["message"] == f"Dispatch {early} does not have a callback thread."
        unknown = await claude.fail("relay_dispatch_deliver", dispatchId=early, callbackThreadId=nobody)
        assert unknown["relayCode"] == "callback_target_invalid"
        assert running.dispatch(early)["callbackThreadId"] is None

        before = turns(model)
        nothing = await claude.call("relay_dispatch_recover", dispatchId=early)
        assert (nothing["recoveryAction"], turns(model)) == ("none", before)
        given = await claude.call("relay_dispatch_recover", dispatchId=early, callbackThreadId=source)
        assert (given["recoveryAction"], given["callbackStatus"]) == ("deliver_callback", "delivered")
        again = await claude.call("relay_dispatch_deliver", dispatchId=early)
        assert (again["callbackStatus"], model.seen("[Codex Relay Callback]")) == ("delivered", 2)
        elsewhere = await claude.call("relay_dispatch_deliver", dispatchId=early, callbackThreadId=other)
        assert (elsewhere["callbackStatus"], elsewhere["callbackThreadId"]) == ("delivered", other)

        lost = accept(running, codex_home, "two", callbackThreadId=nobody)
        status = running.dispatch_when(lost, "callbackStatus", ["failed"])
        assert (status["recoverySuggested"], status["callbackErrorCode"]) == (
            "retry_callback",
            "callback_target_invalid",
        )
        batch = await claude.call("relay_dispatch_recover", callbackThreadId=source, limit=5)
        (row,) = batch["recovered"]
        assert (row["dispatchId"], row["recoveryAction"], row["callbackStatus"]) == (
            lost,
            "deliver_callback",
            "delivered",
        )
        assert (batch["projectId"], batch["recoveredCount"]) == (None, 1)
        assert batch["scannedCount"] >= 2
        untrusted = await claude.fail("relay_dispatch_recover", projectId="/nowhere")
        assert untrusted["relayCode"] == "project_untrusted"


async def test_a_turn_shows_what_it_does_while_it_does_it(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)
    dispatch_id = accept(running, codex_home, "[[commentary halfway]] [[shell echo from-the-shell]] [[gate end]]")
    model.wait_at_gate("end")

    def items() -> dict[str, dict[str, Any]]:
        found = running.client.get(f"/api/dispatches/{dispatch_id}/items").json()["items"]
        return {item["kind"]: item for item in found}

    wait_until(lambda: {"command", "message"} <= items().keys(), "the items did not appear")
    assert running.dispatch(dispatch_id)["dispatchStatus"] == "running"
    assert "echo from-the-shell" in items()["command"]["title"]
    assert "from-the-shell" in items()["command"]["text"]
    model.release("end")
    done = running.dispatch_when(dispatch_id)
    assert done["usage"]["totalTokens"] > 0
    assert items()["message"]["text"].strip() == done["replyText"]


async def test_a_waiting_caller_hears_what_the_turn_does(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)
    heard: list[str] = []

    async def hear(_done: float, _total: float | None, message: str | None) -> None:
        heard.append(message or "")

    arguments = {
        "projectId": str(codex_home.project),
        "message": "[[shell echo hi]] [[gate end]]",
        "createIfMissing": True,
    }
    async with agent(running) as claude:
        asking = asyncio.create_task(claude.client.call_tool("relay_dispatch", arguments, progress_callback=hear))
        await asyncio.to_thread(model.wait_at_gate, "end")
        await asyncio.to_thread(wait_until, lambda: any("command: " in text for text in heard), "nothing was heard")
        model.release("end")
        await asking


async def test_a_dispatched_turn_may_not_wait_for_another_and_goes_only_so_far(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings, codex_allow_relay=True, max_hops=1)
    # Required: Codex then waits for its tools before it begins a turn.
    codex_home.append(f'[mcp_servers.relay]\nurl = "{running.url}/mcp"\nrequired = true\n')
    inner = json.dumps({"projectId": str(codex_home.project), "message": "inner", "threadName": "inner",
                        "createIfMissing": True})  # fmt: skip
    waits = accept(running, codex_home, f"[[call mcp__relay|relay_dispatch {inner}]]")
    assert "nested_send_refused" in running.dispatch_when(waits)["replyText"]
    goes_on = accept(running, codex_home, f"[[call mcp__relay|relay_dispatch_async {inner}]]")
    assert "dispatchId" in running.dispatch_when(goes_on)["replyText"]
    nested = json.dumps({"projectId": str(codex_home.project), "threadName": "third", "createIfMissing": True,
                         "message": "third"})  # fmt: skip
    second = json.dumps({"projectId": str(codex_home.project), "threadName": "inner", "createIfMissing": True,
                         "message": f"[[call mcp__relay|relay_dispatch_async {nested}]]"})  # fmt: skip
    accept(running, codex_home, f"[[call mcp__relay|relay_dispatch_async {second}]]")
    wait_until(lambda: model.seen("third") >= 2, "the inner turn did not run")
    last = running.client.get("/api/dispatches?limit=1").json()["dispatches"][0]
    assert "nested_send_refused" in running.dispatch_when(last["dispatchId"])["replyText"]
    assert last["hops"] == 1


def test_dispatches_are_listed_by_state_project_and_thread(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    done = [accept(running, codex_home, f"job {n}", name=f"t{n % 2}") for n in range(4)]
    for dispatch_id in done:
        running.dispatch_when(dispatch_id)
    thread_id = running.dispatch(done[0])["threadId"]

    def listed(query: str) -> list[str]:
        page = running.client.get(f"/api/dispatches?{query}").json()
        return [row["dispatchId"] for row in page["dispatches"]]

    assert listed(f"threadId={thread_id}") == [done[2], done[0]]
    assert listed("status=succeeded&limit=1") == [done[3]]
    assert listed(f"projectId={codex_home.project}/") == done[::-1]
    assert listed("status=failed") == []
    refused = running.client.get("/api/dispatches?status=odd")
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")


def test_old_dispatches_are_deleted_and_unfinished_ones_are_not(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings, keep_dispatches=2)
    held = accept(running, codex_home, "[[gate held]]", name="held")
    model.wait_at_gate("held")
    done = [accept(running, codex_home, f"job {n}") for n in range(4)]
    for dispatch_id in done:
        running.dispatch_when(dispatch_id)
    model.release("held")
    running.dispatch_when(held)
    running.restart()
    wait_until(lambda: len(running.client.get("/api/dispatches").json()["dispatches"]) == 2, "nothing was deleted")
    assert running.client.get(f"/api/dispatches/{held}").status_code == 404
