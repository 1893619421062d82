"""The seed's rows B36 to B63: callbacks, what is suggested for each state, and what recovering and telling again do."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.hub import Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until
from tests.support.relay import Relay

pytestmark = pytest.mark.anyio

FAR = 1e12
NOWHERE = "/srv/not-trusted-yet"
UNFINISHED: dict[str, Any] = {"finished_at": None, "owner": None, "lease_expires_at": None, "not_before": FAR}
HELD: dict[str, Any] = {"finished_at": None, "owner": "another hub", "lease_expires_at": FAR}
RESUMABLE = "An existing target turn id is recorded and can be resumed without replaying the message."
TIMED_OUT = "The target turn timed out locally but still has a recorded turn id that can be resumed."
RESTARTABLE = "No active worker or thread lease remains; the dispatch can be restarted safely."
PENDING = "Callback delivery is pending and can be retried."
FAILED = "Callback delivery failed and can be retried explicitly."


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    hubs = Hubs()
    yield Relay(hubs, tmp_path_factory.mktemp("codex"))
    hubs.end()


def told(relay: Relay, thread_id: str) -> list[dict[str, Any]]:
    """What a thread was told, as data."""
    return [json.loads(text.split("_JSON\n")[1].rpartition("\nEND")[0]) for text in relay.sent(thread_id)]


async def test_a_callback_is_one_turn_with_the_fixed_frame_around_all_that_is_known(relay: Relay) -> None:
    project, thread_id, source = relay.place("target", "source")
    done = relay.done(project, thread_id, "hello", callbackThreadId=source)
    failed = relay.done(project, thread_id, "mode=fail", callbackThreadId=source)
    status = relay.hub.dispatch_when(done, "callbackStatus", ["delivered"])
    relay.hub.dispatch_when(failed, "callbackStatus", ["delivered"])
    first, second = relay.sent(source)
    assert first.startswith("[Codex Thread Relay]\n")
    lines = first.partition("\n\nDelegated request:\n")[2].split("\n")
    assert lines[:2] == ["[Codex Relay Callback]", "Event-Type: codex.relay.dispatch.completed.v1"]
    begin, end = (lines.index(f"{edge}_CODEX_RELAY_CALLBACK_JSON") for edge in ("BEGIN", "END"))
    assert 2 < begin < end < len(lines) - 1
    expected = {
        "eventType": "codex.relay.dispatch.completed.v1", "dispatchId": done, "status": "succeeded",
        "callbackStatus": "pending", "callbackThreadId": source, "targetProjectId": project,
        "targetThreadId": thread_id, "targetThreadName": "target", "turnId": status["turnId"],
        "resolution": "by_thread_id", "replyText": "echo: hello", "errorCode": None, "errorMessage": None,
        "timingMs": status["timingMs"],
    }  # fmt: skip
    assert "\n".join(lines[begin + 1 : end]) == json.dumps(expected, indent=2)
    assert status["callbackTurnId"] not in (None, status["turnId"])
    _, failure = told(relay, source)
    assert failure.keys() == expected.keys()
    assert [failure[key] for key in ("status", "replyText", "errorCode", "errorMessage")] == [
        "failed", None, "target_turn_failed", "Target turn failed: model exploded",
    ]  # fmt: skip
    assert second.count("_CODEX_RELAY_CALLBACK_JSON") == 2


async def test_a_callback_to_a_thread_in_use_waits_and_is_tried_again(relay: Relay) -> None:
    project, thread_id, patient, helped, recovered = relay.place("target", "patient", "helped", "recovered")
    ids = []
    for source in (patient, helped, recovered):
        relay.hold(source)
        ids.append(relay.done(project, thread_id, "hello", callbackThreadId=source))
    for dispatch_id in ids:
        waiting = relay.hub.dispatch_when(dispatch_id, "callbackErrorCode", ["target_busy"])
        assert (waiting["dispatchStatus"], waiting["callbackStatus"]) == ("succeeded", "pending")
        assert waiting["recoverySuggested"] == "deliver_callback"
    async with agent(relay.hub) as claude:
        busy = await claude.call("relay_dispatch_deliver", dispatchId=ids[1])
        for source in (patient, helped, recovered):
            relay.free(source)
        delivered = await claude.call("relay_dispatch_deliver", dispatchId=ids[1])
        helped_on = await claude.call("relay_dispatch_recover", dispatchId=ids[2])
        again = await claude.call("relay_dispatch_recover", dispatchId=ids[2])
    assert (busy["callbackStatus"], busy["callbackErrorCode"]) == ("pending", "target_busy")
    assert (delivered["callbackStatus"], "callbackErrorCode" in delivered) == ("delivered", False)
    assert (helped_on["recoveryAction"], helped_on["callbackStatus"]) == ("deliver_callback", "delivered")
    assert (again["recoveryAction"], "recoverySuggested" in again) == ("none", False)
    relay.hub.dispatch_when(ids[0], "callbackStatus", ["delivered"])
    assert [len(relay.sent(source)) for source in (patient, helped, recovered)] == [1, 1, 1]


async def test_who_tells_a_thread_that_works_for_the_hub_does_not_wait_for_its_turn(relay: Relay) -> None:
    project, thread_id, source = relay.place("target", "source")
    work = relay.accept(project, source, "delay=60000")
    wait_until(lambda: relay.hub.dispatch(work)["turnId"], "it was not sent")
    dispatch_id = relay.done(project, thread_id, "hello", callbackThreadId=source)
    async with agent(relay.hub) as claude:
        busy = await claude.call("relay_dispatch_deliver", dispatchId=dispatch_id)
        assert (busy["callbackStatus"], busy["callbackErrorCode"]) == ("pending", "target_busy")
        assert relay.hub.dispatch(work)["dispatchStatus"] == "running"
        await claude.call("relay_dispatch_cancel", dispatchId=work)
    told_of = relay.hub.dispatch_when(dispatch_id, "callbackStatus", ["delivered"])
    assert (told_of["callbackErrorCode"], len(relay.sent(source))) == (None, 2)


async def test_a_callback_may_take_as_long_as_its_dispatch_within_bounds(relay: Relay) -> None:
    project, thread_id, source = relay.place("target", "source")
    for limit in ({"timeoutSec": 10}, {"timeoutSec": 60}, {"timeoutSec": 3600}, {}):
        dispatch_id = relay.done(project, thread_id, "hello", callbackThreadId=source, **limit)
        relay.hub.dispatch_when(dispatch_id, "callbackStatus", ["delivered"])
    page = relay.hub.client.get("/api/dispatches", params={"threadId": source}).json()
    assert [each["timeoutSec"] for each in page["dispatches"]] == [90, 90, 60, 15]


@pytest.mark.parametrize(
    ("left", "suggested", "warning", "ends"),
    [
        pytest.param(
            {"status": "running", **HELD, "turn_id": None},
            "wait_worker", "A relay worker is still active for this dispatch.", None, id="a worker is at it",
        ),
        pytest.param(
            {"status": "running", **UNFINISHED}, "resume_turn_wait", RESUMABLE, "succeeded", id="its turn is known",
        ),
        pytest.param(
            {"status": "running", **UNFINISHED, "turn_id": None},
            "restart_dispatch", RESTARTABLE, "succeeded", id="only its thread knows that it was sent",
        ),
        pytest.param(
            {"status": "timed_out", **UNFINISHED, "error_code": "turn_timeout"},
            "resume_timed_out_turn", TIMED_OUT, "succeeded", id="its turn was too slow",
        ),
        pytest.param({}, None, None, "succeeded", id="nothing is left to do"),
    ],
)  # fmt: skip
async def test_what_was_sent_is_taken_up_where_it_stands_and_never_sent_again(
    relay: Relay, left: dict[str, Any], suggested: str | None, warning: str | None, ends: str | None
) -> None:
    project, thread_id = relay.place("t")
    dispatch_id = relay.done(project, thread_id, "hello")
    if left:
        relay.put(dispatch_id, reply_text=None, **left)
    async with agent(relay.hub) as claude:
        status = await claude.call("relay_dispatch_status", dispatchId=dispatch_id)
        assert (status.get("recoverySuggested"), status.get("warning")) == (suggested, warning)
        recovered = await claude.call("relay_dispatch_recover", dispatchId=dispatch_id)
        assert recovered.keys() - status.keys() <= {"recoveryAction", "replyText"}
        assert recovered["recoveryAction"] == suggested or "none"
        if ends is None:
            assert recovered["dispatchStatus"] == "running"
            # Once the lease runs out, the next who looks for work takes it up; the thread is free by itself.
            relay.put(dispatch_id, lease_expires_at=0.0)
        reply = await claude.call("relay_dispatch_async", projectId=project, threadId=thread_id, message="next")
    assert relay.hub.dispatch_when(reply["dispatchId"])["replyText"] == "echo: next"
    done = relay.hub.dispatch(dispatch_id)
    assert (done["dispatchStatus"], done["replyText"]) == (ends or "succeeded", "echo: hello")
    assert (done["errorCode"], done["turnId"] is None) == (None, False)
    assert len(relay.sent(thread_id)) == 2


@pytest.mark.parametrize(
    ("status", "suggested", "warning"),
    [("pending", "deliver_callback", PENDING), ("failed", "retry_callback", FAILED)],
)
async def test_a_callback_that_is_owed_is_suggested_and_made_up_for(
    relay: Relay, status: str, suggested: str, warning: str
) -> None:
    project, thread_id, source = relay.place("target", "source")
    dispatch_id = relay.done(project, thread_id, "hello")
    relay.put(dispatch_id, callback_thread_id=source, callback_status=status, callback_not_before=FAR)
    async with agent(relay.hub) as claude:
        before = await claude.call("relay_dispatch_status", dispatchId=dispatch_id)
        after = await claude.call("relay_dispatch_recover", dispatchId=dispatch_id)
    assert (before["callbackStatus"], before["recoverySuggested"], before["warning"]) == (status, suggested, warning)
    assert (after["recoveryAction"], after["callbackStatus"]) == (suggested, "delivered")
    assert len(relay.sent(source)) == 1


async def test_what_waits_in_line_is_not_hurried_past_the_one_before_it(relay: Relay) -> None:
    project, thread_id, source = relay.place("t", "source")
    first = relay.accept(project, thread_id, "delay=60000")
    wait_until(lambda: relay.hub.dispatch(first)["turnId"], "it was not sent")
    second = relay.accept(project, thread_id, "second")
    async with agent(relay.hub) as claude:
        standing = await claude.call("relay_dispatch_status", dispatchId=second)
        recovered = await claude.call("relay_dispatch_recover", dispatchId=second)
        early = await claude.call("relay_dispatch_deliver", dispatchId=second, callbackThreadId=source)
        text = await claude.text("relay_dispatch_deliver", dispatchId=second, callbackThreadId=source)
        await claude.call("relay_dispatch_cancel", dispatchId=first)
    assert (standing["recoverySuggested"], recovered["recoveryAction"]) == ("wait_thread_lease_expiry",) * 2
    assert standing["warning"] == (
        "The target thread still has an active lease but no recorded turn id, so replay is not safe yet."
    )
    assert (recovered["dispatchStatus"], recovered["threadLeaseActive"], recovered["turnId"]) == ("queued", True, None)
    assert (early["callbackStatus"], early["callbackThreadId"]) == ("not_requested", source)
    assert text == f"Dispatch {second} callback status: not_requested.\nCallback thread: {source}."
    assert relay.hub.dispatch_when(second)["replyText"] == "echo: second"
    assert (relay.hub.dispatch(second)["callbackThreadId"], relay.sent(source)) == (None, [])


async def test_a_dispatch_that_never_ran_is_sent_once_by_however_many_recover_it(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    relay.hold(thread_id)
    dispatch_id = relay.accept(project, thread_id, "hello")
    wait_until(lambda: relay.hub.dispatch(dispatch_id)["waitingFor"], "it was not tried")

    async def recover() -> dict[str, Any]:
        async with agent(relay.hub) as claude:
            return await claude.call("relay_dispatch_recover", dispatchId=dispatch_id)

    relay.put(dispatch_id, not_before=FAR)
    relay.free(thread_id)
    both = await asyncio.gather(recover(), recover())
    # The second one may come while the first one's turn runs, or after it.
    assert (
        {"restart_dispatch"} <= {each["recoveryAction"] for each in both} <= {"restart_dispatch", "wait_worker", "none"}
    )
    assert relay.hub.dispatch_when(dispatch_id)["replyText"] == "echo: hello"
    assert len(relay.sent(thread_id)) == 1


async def test_a_turn_past_its_limit_is_waited_for_and_its_reply_taken(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    dispatch_id = relay.accept(project, thread_id, "delay=2500 RELAY_RECOVER_PATH_MARKER=OK", timeoutSec=1)
    late = relay.hub.dispatch_when(dispatch_id, values=["timed_out"])
    async with agent(relay.hub) as claude:
        recovered = await claude.call("relay_dispatch_recover", dispatchId=dispatch_id)
        text = await claude.text("relay_dispatch_recover", dispatchId=dispatch_id)
    assert (late["errorCode"], late["recoverySuggested"]) == ("turn_timeout", "resume_timed_out_turn")
    assert late["errorMessage"] == f"Timed out while waiting for thread {thread_id} turn {late['turnId']}"
    assert [recovered[key] for key in ("recoveryAction", "dispatchStatus", "replyText")] == [
        "resume_timed_out_turn", "succeeded", "echo: delay=2500 RELAY_RECOVER_PATH_MARKER=OK",
    ]  # fmt: skip
    assert "recoverySuggested" not in recovered
    assert text.splitlines() == [
        f"Dispatch {dispatch_id} recovery action: none.",
        "Dispatch status: succeeded.",
        "Callback: not_requested.",
        f"Reply: {recovered['replyText']}",
    ]
    assert len(relay.sent(thread_id)) == 1


async def test_many_are_recovered_at_once_last_changed_first_but_none_that_is_at_work(relay: Relay) -> None:
    project, *threads = relay.place("a", "b", "c", "working")
    stranger = relay.project(NOWHERE, trusted=False)
    (source,) = relay.threads(stranger, "source")
    ids = []
    for thread_id in threads[:3]:
        ids.append(relay.done(project, thread_id, "hello", callbackThreadId=source))
        lost = relay.hub.dispatch_when(ids[-1], "callbackStatus", ["failed"])
        assert (lost["callbackErrorCode"], lost["dispatchStatus"]) == ("callback_target_invalid", "succeeded")
    working = relay.accept(project, threads[3], "delay=60000", callbackThreadId=source)
    relay.hub.dispatch_when(working, values=["running"])
    relay.project(stranger)
    async with agent(relay.hub) as claude:
        batch = await claude.call("relay_dispatch_recover", projectId=f"{project}/", limit=2)
        text = await claude.text("relay_dispatch_recover", projectId=project)
        nothing = await claude.call("relay_dispatch_recover", projectId=project)
        await claude.call("relay_dispatch_cancel", dispatchId=working)
        unknown = await claude.fail("relay_dispatch_recover", projectId="/srv/nobody")
    rows = batch["recovered"]
    assert batch.keys() == {"projectId", "recovered", "scannedCount", "recoveredCount", "statePath"}
    assert (batch["scannedCount"], batch["recoveredCount"]) == (4, 2)
    assert [row["dispatchId"] for row in rows] == [ids[2], ids[1]]
    assert {(row["recoveryAction"], row["callbackStatus"]) for row in rows} == {("retry_callback", "delivered")}
    assert text.splitlines() == [
        "Recovered 1 dispatch(es) from 4 scanned.",
        f"Project: {project}",
        f"- {ids[0]}: retry_callback -> succeeded / delivered",
        f"Relay state: {batch['statePath']}",
    ]
    assert (nothing["recoveredCount"], nothing["recovered"]) == (0, [])
    assert (unknown["relayCode"], unknown["projectId"]) == ("project_untrusted", "/srv/nobody")


async def test_a_callback_in_line_is_recovered_through_the_dispatch_that_owes_it(relay: Relay) -> None:
    project, thread_id, source = relay.place("target", "source")
    relay.hold(source)
    dispatch_id = relay.done(project, thread_id, "hello", callbackThreadId=source)
    relay.hub.dispatch_when(dispatch_id, "callbackErrorCode", ["target_busy"])
    relay.free(source)
    async with agent(relay.hub) as claude:
        batch = await claude.call("relay_dispatch_recover", projectId=project)
    assert [(row["dispatchId"], row["callbackStatus"]) for row in batch["recovered"]] == [(dispatch_id, "delivered")]
    assert len(relay.sent(source)) == 1
