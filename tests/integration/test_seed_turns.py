"""The seed's turns (rows B11 to B35 and B59 to B93): payloads, texts and errors as its callers know them."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.errors import from_code
from tests.support.hub import Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until
from tests.support.relay import Relay

pytestmark = pytest.mark.anyio

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
REPLY = {
    "projectId", "projectName", "threadId", "threadName", "created", "resolution", "turnId", "replyText", "timingMs",
    "lastUsedAt", "statePath", "warning",
}  # fmt: skip
ACCEPTED = {
    "dispatchId", "projectId", "threadId", "threadName", "created", "resolution", "acceptedAt", "callbackRequested",
    "statePath",
}  # fmt: skip
STATUS = {
    "dispatchId", "dispatchStatus", "callbackStatus", "callbackThreadId", "threadId", "threadName", "projectId",
    "created", "resolution", "turnId", "acceptedAt", "updatedAt", "dispatchLeaseActive", "threadLeaseActive",
    "statePath",
}  # fmt: skip
RECORD = {
    "dispatchId", "projectId", "threadId", "threadName", "message", "timeoutSec", "created", "resolution", "turnId",
    "dispatchStatus", "callbackThreadId", "callbackStatus", "callbackTurnId", "replyText", "errorCode",
    "errorMessage", "callbackErrorCode", "callbackErrorMessage", "createdAt", "acceptedAt", "updatedAt",
    "callbackDeliveredAt", "timingMs", "warning",
}  # fmt: skip


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    hubs = Hubs()
    yield Relay(hubs, tmp_path_factory.mktemp("codex"))
    hubs.end()


async def test_a_reply_comes_with_all_that_its_caller_asks_of_it(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    async with agent(relay.hub) as claude:
        reply = await claude.call("relay_send_wait", threadId=thread_id, message=" hello ")
        text = await claude.text("relay_send_wait", threadId=thread_id, message="again")
        (row,) = (await claude.call("relay_list_threads", projectId=project))["threads"]
        later = await claude.call("relay_dispatch", projectId=project, threadName="t", message="more")
        (moved,) = (await claude.call("relay_list_threads", projectId=project))["threads"]
    assert set(reply) - {"dispatchId"} == set(later) - {"dispatchId"} == REPLY
    assert (reply["replyText"], reply["resolution"], reply["created"]) == ("echo: hello", "by_thread_id", False)
    assert (reply["projectName"], reply["threadName"], reply["warning"]) == (project.rpartition("/")[2], "t", None)
    assert reply["timingMs"] > 0
    assert ISO.fullmatch(reply["lastUsedAt"])
    assert text == f"Received reply from thread {thread_id} (by_thread_id).\necho: again"
    # One row of what is remembered, which moves on.
    assert (moved["createdAt"], moved["lastTurnId"]) == (row["createdAt"], later["turnId"])
    assert row["lastTurnId"] not in (reply["turnId"], later["turnId"])
    assert moved["lastUsedAt"] > row["lastUsedAt"]


async def test_a_turn_outlives_its_caller_and_its_thread_is_free_afterwards(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    asked: dict[str, Any] = {"threadId": thread_id, "timeoutSec": 1}
    async with agent(relay.hub) as claude:
        late = await claude.fail(
            "relay_send_wait", **asked, message="delay=4000 RELAY_TEST_MARKER=FRONTEND_RELAY_READONLY_OK"
        )
        status = await claude.call("relay_dispatch_status", dispatchId=late["recoveryDispatchId"])
        busy = await claude.call("relay_dispatch", projectId=project, threadId=thread_id, message="not now")
        text = await claude.text("relay_send_wait", threadId=thread_id, message="not now")
        first = relay.hub.dispatch_when(status["dispatchId"])
        again = await claude.fail(
            "relay_send_wait", **asked, message="delay=2500 RELAY_FOLLOWUP_MARKER=POST_RECOVERY_THREAD_FREE_OK"
        )
        second = await claude.call("relay_dispatch_recover", dispatchId=again["recoveryDispatchId"])
        relay.hub.dispatch_when(again["recoveryDispatchId"], values=["succeeded"])
        direct = await claude.call("relay_send_wait", threadId=thread_id, message="RELAY_DIRECT_SYNC_MARKER=OK")
    cause = f"Timed out while waiting for thread {thread_id} turn {status['turnId']}"
    assert late == {
        "relayCode": "turn_timeout", "rpcCode": -32001, "retryable": True,
        "message": f"{cause} Recovery dispatch {status['dispatchId']} is continuing in background.",
        "cause": cause, "threadId": thread_id, "turnId": status["turnId"], "recoveryDispatchId": status["dispatchId"],
        "recoveryDispatchStatus": "running", "recoveryScheduled": True, "recoveryStatePath": status["statePath"],
        "recoverySuggested": "Use relay_dispatch_status or relay_dispatch_recover with this dispatch id.",
    }  # fmt: skip
    assert status["dispatchStatus"] == "running"
    assert {**busy, "updatedAt": ""} == {**status, "busy": True, "newMessageDelivered": False, "updatedAt": ""}
    assert text.splitlines() == [
        f"Target thread t [{thread_id}] is still busy with relay dispatch {status['dispatchId']}; "
        "the new message was not delivered.",
        f"Active turn: {status['turnId']}.",
        f"Dispatch {status['dispatchId']}: running.",
        "Recovery: wait_worker",
        "Warning: A relay worker is still active for this dispatch.",
        f"Relay state: {status['statePath']}",
    ]
    assert first["replyText"] == "echo: delay=4000 RELAY_TEST_MARKER=FRONTEND_RELAY_READONLY_OK"
    assert (second["recoveryAction"], second["dispatchStatus"]) == ("wait_worker", "running")
    assert direct["replyText"] == "echo: RELAY_DIRECT_SYNC_MARKER=OK"
    assert len(relay.sent(thread_id)) == 3


async def test_a_dispatch_is_accepted_at_once_and_seen_until_its_end(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    asked = {"projectId": project, "threadId": thread_id}
    async with agent(relay.hub) as claude:
        accepted = await claude.call("relay_dispatch_async", **asked, message="delay=1000 hello")
        text = await claude.text("relay_dispatch_async", **asked, message="mode=fail", timeoutSec=60)
        dispatch_id = accepted["dispatchId"]
        seen = [await claude.call("relay_dispatch_status", dispatchId=dispatch_id)]
        while seen[-1]["dispatchStatus"] != "succeeded":
            seen.append(await claude.call("relay_dispatch_status", dispatchId=dispatch_id))
        failed = relay.hub.dispatch_when(text.split()[4].rstrip("."))
        status = await claude.call("relay_dispatch_status", dispatchId=failed["dispatchId"])
        words = await claude.text("relay_dispatch_status", dispatchId=dispatch_id)
        unknown = await claude.fail("relay_dispatch_status", dispatchId="nope")
    assert set(accepted) == ACCEPTED
    assert (accepted["created"], accepted["callbackRequested"]) == (False, False)
    assert text.splitlines()[1:] == [
        f"Target thread: t [{thread_id}] (by_thread_id).",
        "Callback requested: no.",
        f"Relay state: {accepted['statePath']}",
    ]
    states = list(dict.fromkeys(each["dispatchStatus"] for each in seen))
    assert [state for state in ("queued", "running", "succeeded") if state in states] == states
    assert any(each["turnId"] for each in seen if each["dispatchStatus"] == "running")
    assert seen[-1].keys() == STATUS | {"replyText", "timingMs"}
    assert (seen[-1]["callbackThreadId"], seen[-1]["callbackStatus"]) == (None, "not_requested")
    assert status.keys() == STATUS | {"errorCode", "errorMessage", "timingMs"}
    assert [status[key] for key in ("dispatchStatus", "errorCode", "errorMessage")] == [
        "failed", "target_turn_failed", "Target turn failed: model exploded",
    ]  # fmt: skip
    assert words.splitlines() == [
        f"Dispatch {dispatch_id}: succeeded.",
        "Callback: not_requested.",
        f"Target thread: t [{thread_id}].",
        "Reply: echo: delay=1000 hello",
    ]
    assert failed.keys() >= RECORD
    assert (failed["message"], failed["timeoutSec"], failed["replyText"]) == ("mode=fail", 60, None)
    assert (unknown["relayCode"], unknown["dispatchId"]) == ("dispatch_not_found", "nope")


async def test_what_ends_a_turn_reaches_its_caller_as_data(relay: Relay) -> None:
    _, thread_id = relay.place("t")
    async with agent(relay.hub) as claude:

        async def failing(mode: str) -> dict[str, Any]:
            error = await claude.fail("relay_send_wait", threadId=thread_id, message=f"mode={mode}")
            assert (error["threadId"], error["turnId"] is None) == (thread_id, False)
            return error

        failed, silent, died = [await failing(mode) for mode in ("fail", "noreply", "crash")]
        relay.hold(thread_id)
        busy = await claude.fail("relay_send_wait", threadId=thread_id, message="now")
        relay.free(thread_id)
    assert (failed["relayCode"], failed["rpcCode"], failed["detail"]) == (
        "target_turn_failed", -32603, "model exploded",
    )  # fmt: skip
    assert (silent["relayCode"], silent["rpcCode"]) == ("reply_missing", -32603)
    assert (died["relayCode"], died["rpcCode"], died["cause"]) == ("app_server_unavailable", -32603, died["message"])
    assert (busy["relayCode"], busy["rpcCode"], busy["retryable"]) == ("target_busy", -32600, True)


@pytest.mark.parametrize(
    ("code", "rpc_code"),
    [
        ("project_untrusted", -32602),
        ("thread_not_found", -32602),
        ("target_ambiguous", -32602),
        ("dispatch_not_found", -32602),
        ("callback_target_invalid", -32602),
        ("target_busy", -32600),
        ("turn_timeout", -32001),
        ("app_server_unavailable", -32603),
        ("reply_missing", -32603),
        ("target_turn_failed", -32603),
        ("internal_error", -32603),
    ],
)
def test_each_code_has_the_number_that_the_seeds_callers_know(code: str, rpc_code: int) -> None:
    error = from_code(code, "x").as_structured()
    assert (error["relayCode"], error["rpcCode"]) == (code, rpc_code)


async def test_of_two_who_send_at_once_one_is_answered_and_the_other_told_of_it(relay: Relay) -> None:
    _, thread_id = relay.place("t")

    async def send(message: str) -> dict[str, Any]:
        async with agent(relay.hub) as claude:
            return await claude.call("relay_send_wait", threadId=thread_id, message=f"delay=1500 {message}")

    answers = await asyncio.gather(send("one"), send("two"))
    (reply,) = (each for each in answers if "busy" not in each)
    (busy,) = (each for each in answers if "busy" in each)
    assert (busy["dispatchId"], busy["newMessageDelivered"]) == (reply["dispatchId"], False)
    assert len(relay.sent(thread_id)) == 1


async def test_twelve_clients_hand_in_twenty_dispatches_each_and_none_is_lost(hub: Hubs, tmp_path: Path) -> None:
    # A hub of its own, which may end with all of them in line.
    relay = Relay(hub, tmp_path / "codex")
    project, *threads = relay.place(*(f"t{n}" for n in range(12)))
    for thread_id in threads:
        relay.hold(thread_id)

    def hand_in(thread_id: str) -> list[str]:
        with httpx.Client(base_url=relay.hub.url, trust_env=False, timeout=60) as client:
            bodies = ({"projectId": project, "threadId": thread_id, "message": f"{n}"} for n in range(20))
            answers = [client.post("/api/dispatches", json=body) for body in bodies]
        assert {answer.status_code for answer in answers} == {202}
        return [answer.json()["dispatchId"] for answer in answers]

    ids = await asyncio.gather(*(asyncio.to_thread(hand_in, thread_id) for thread_id in threads))
    for thread_id, accepted in zip(threads, ids, strict=True):
        page = relay.hub.client.get("/api/dispatches", params={"threadId": thread_id}).json()
        assert [each["dispatchId"] for each in page["dispatches"]] == accepted[::-1]


async def test_the_state_of_a_dispatch_is_told_without_codex(hub: Hubs, tmp_path: Path) -> None:
    relay = Relay(hub, tmp_path / "codex", keep_dispatches=1)
    project, thread_id, source = relay.place("target", "source")
    relay.hold(source)
    owed = relay.done(project, thread_id, "hello", callbackThreadId=source)
    relay.hub.dispatch_when(owed, "callbackErrorCode", ["target_busy"])
    pruned = relay.done(project, thread_id, "again")
    relay.done(project, thread_id, "last")
    relay.hub.stop()
    relay.codex.command.unlink()
    relay.hub.start()
    async with agent(relay.hub) as claude:
        status = await claude.call("relay_dispatch_status", dispatchId=owed)
        down = await claude.fail("relay_list_projects")
    assert (status["dispatchStatus"], status["replyText"]) == ("succeeded", "echo: hello")
    # What is still to be told is kept, whatever its age.
    assert (status["callbackStatus"], status["recoverySuggested"]) == ("pending", "deliver_callback")
    assert down["relayCode"] == "app_server_unavailable"
    wait_until(lambda: relay.hub.client.get(f"/api/dispatches/{pruned}").status_code == 404, "it was kept")
