"""The command behind `scripts/soak`: batches of dispatches whose ends are told to one thread, which at times is not to
be had."""

import asyncio
import contextlib
import os
import sys
import time
from functools import partial

from tests.live.place import Relay, expect, main

HELD_EACH = 3
"""In every batch of this number the thread that asked is open elsewhere."""
RECOVERIES = 10


async def soak(iterations: int, limit_sec: int, concurrency: int, relay: Relay) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    source = await relay.thread(f"relay soak main {stamp}")
    targets = [await relay.thread(f"relay soak target {n} {stamp}") for n in range(1, concurrency + 1)]
    for n, target in enumerate(targets, 1):
        warm = await relay.hand_in(f"relay soak warmup {n}", threadId=target, timeoutSec=limit_sec)
        await relay.when(warm["dispatchId"], limit_sec, dispatchStatus="succeeded")
    batches = [range(n, min(n + concurrency, iterations + 1)) for n in range(1, iterations + 1, concurrency)]
    for number, batch in enumerate(batches, 1):
        labels = {target: f"relay soak ok {n}" for n, target in zip(batch, targets, strict=False)}
        await _batch(relay, source, labels, limit_sec, held=number % HELD_EACH == 0)
        print(f"[batch {number}/{len(batches)}] {len(batch)} dispatch(es) settled", flush=True)
    print(f"relay soak passed ({iterations} iterations, concurrency={concurrency})", flush=True)


async def _batch(relay: Relay, source: str, labels: dict[str, str], limit_sec: int, held: bool) -> None:
    """Each target answers its label, and the source is told of each."""
    waits = {"callbackStatus": "pending", "recoverySuggested": "deliver_callback"}
    with relay.place.held(source) if held else contextlib.nullcontext():
        receipts = [
            await relay.hand_in(label, threadId=target, callbackThreadId=source, timeoutSec=limit_sec)
            for target, label in labels.items()
        ]
        ids = [str(receipt["dispatchId"]) for receipt in receipts]
        wanted = waits if held else {"callbackStatus": "delivered"}
        for dispatch_id, label in zip(ids, labels.values(), strict=True):
            done = await relay.when(dispatch_id, limit_sec, dispatchStatus="succeeded", **wanted)
            expect(done["replyText"], label)
    if held:
        await _recover(relay, ids)


async def _recover(relay: Relay, ids: list[str]) -> None:
    """Recover all of the project at once until everybody is told."""
    for _ in range(RECOVERIES):
        await relay.agent.call("relay_dispatch_recover", projectId=relay.place.project, limit=len(ids))
        stands = [await relay.agent.call("relay_dispatch_status", dispatchId=each) for each in ids]
        if all(status["callbackStatus"] == "delivered" for status in stands):
            return
        await asyncio.sleep(2)
    raise AssertionError(f"these were not told after {RECOVERIES} recoveries: {ids}")


def _number(name: str, default: int, least: int, most: int = sys.maxsize) -> int:
    """A setting of the environment, brought within its bounds."""
    variable = f"THREAD_RELAY_SOAK_{name}"
    given = os.environ.get(variable) or str(default)
    try:
        return min(max(int(given), least), most)
    except ValueError:
        raise SystemExit(f"{variable} must be a whole number, not {given!r}") from None


if __name__ == "__main__":
    wanted = (
        _number("ITERATIONS", 8, least=4),
        _number("TIMEOUT_SEC", 120, least=30),
        _number("CONCURRENCY", 2, least=1, most=4),
    )
    sys.exit(main("soak", __doc__ or "", "THREAD_RELAY_SOAK_PROJECT_ID", partial(soak, *wanted)))
