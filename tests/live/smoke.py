"""The command behind `scripts/smoke`: every way of handing work to Codex, once, on the real Codex."""

import sys
import time
from typing import Any

from tests.live.place import Relay, expect, main

LIMIT_SEC = 180
DELIVERED = {"dispatchStatus": "succeeded", "callbackStatus": "delivered"}
BUSY_SEC = 4
"""A turn that outlasts a caller with a limit of one second."""


async def smoke(relay: Relay) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    source = await relay.thread(f"relay async main {stamp}")
    target = await relay.thread(f"relay async target {stamp}")
    await _waiting(relay, target)
    await _told(relay, source, target, stamp)
    await _held(relay, source, target)
    await _time_limits(relay, target)
    print("relay smoke passed", flush=True)


async def _waiting(relay: Relay, target: str) -> None:
    sent = await _send(relay, target, "relay smoke ok 1")
    expect(sent["replyText"], "relay smoke ok 1")
    _say("a caller that waits has its reply")
    message = relay.place.message("relay smoke ok 2")
    found = await relay.agent.call(
        "relay_dispatch", projectId=relay.place.project, threadId=target, message=message, timeoutSec=LIMIT_SEC
    )
    expect(found["replyText"], "relay smoke ok 2")
    assert found["resolution"] == "by_thread_id", found
    _say("a thread is found by its id")


async def _told(relay: Relay, source: str, target: str, stamp: str) -> None:
    name = f"relay async created {stamp}"
    receipt = await relay.hand_in("relay async ok 3", threadName=name, createIfMissing=True, callbackThreadId=source)
    assert (receipt["resolution"], receipt["created"]) == ("created_new", True), receipt
    done = await relay.when(receipt["dispatchId"], LIMIT_SEC, **DELIVERED)
    expect(done["replyText"], "relay async ok 3")
    _say("a new thread is made, and the thread that asked is told")
    receipt = await relay.hand_in("relay async ok 4", threadId=target, callbackThreadId=source)
    done = await relay.when(receipt["dispatchId"], LIMIT_SEC, **DELIVERED)
    expect(done["replyText"], "relay async ok 4")
    _say("a thread that exists answers, and the thread that asked is told")


async def _held(relay: Relay, source: str, target: str) -> None:
    with relay.place.held(source):
        receipt = await relay.hand_in("relay async ok 5", threadId=target, callbackThreadId=source)
        waits = {"dispatchStatus": "succeeded", "callbackStatus": "pending", "recoverySuggested": "deliver_callback"}
        done = await relay.when(receipt["dispatchId"], LIMIT_SEC, **waits)
    expect(done["replyText"], "relay async ok 5")
    _say("a callback waits while its thread is open elsewhere")
    recovered = await relay.agent.call("relay_dispatch_recover", dispatchId=receipt["dispatchId"])
    if recovered["callbackStatus"] != "delivered":
        await relay.when(receipt["dispatchId"], LIMIT_SEC, **DELIVERED)
    _say("and arrives when it is recovered")


async def _time_limits(relay: Relay, target: str) -> None:
    """A caller gives up, the turn goes on, its reply is there, and its thread is free: by status and by recovery."""
    for marker in (
        "RELAY_TEST_MARKER=FRONTEND_RELAY_READONLY_OK",
        "RELAY_FOLLOWUP_MARKER=POST_RECOVERY_THREAD_FREE_OK",
    ):
        late = await _too_late(relay, target, marker)
        status = await relay.agent.call("relay_dispatch_status", dispatchId=late)
        assert status["dispatchStatus"] in ("queued", "running"), status
        done = await relay.when(late, LIMIT_SEC, dispatchStatus="succeeded")
        expect(done["replyText"], marker)
        _say(marker)
    direct = "RELAY_DIRECT_SYNC_MARKER=OK"
    expect((await _send(relay, target, direct, timeout_sec=45))["replyText"], direct)
    _say(direct)
    marker = "RELAY_RECOVER_PATH_MARKER=OK"
    late = await _too_late(relay, target, marker)
    await relay.agent.call("relay_dispatch_recover", dispatchId=late)
    done = await relay.when(late, LIMIT_SEC, dispatchStatus="succeeded")
    expect(done["replyText"], marker)
    _say(marker)


async def _too_late(relay: Relay, target: str, label: str) -> str:
    """The dispatch of a caller that has given up."""
    message = relay.place.message(label, busy_sec=BUSY_SEC)
    error = await relay.agent.fail("relay_send_wait", threadId=target, message=message, timeoutSec=1)
    assert error["relayCode"] == "turn_timeout", error
    return str(error["recoveryDispatchId"])


async def _send(relay: Relay, target: str, label: str, timeout_sec: int = LIMIT_SEC) -> dict[str, Any]:
    message = relay.place.message(label)
    return await relay.agent.call("relay_send_wait", threadId=target, message=message, timeoutSec=timeout_sec)


def _say(what: str) -> None:
    print(f"ok: {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main("smoke", __doc__ or "", "THREAD_RELAY_SMOKE_PROJECT_ID", smoke))
