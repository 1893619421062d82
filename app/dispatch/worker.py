"""When to work: claims what is due while slots are free, keeps leases alive, picks up what others left behind."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from app.bus import Bus, BusClosed
from app.dispatch import loop_guard
from app.dispatch.callbacks import Callbacks
from app.dispatch.runner import Runner
from app.models import Dispatch, Lease, Topic
from app.settings import Settings
from app.storage import claims, dispatches, leases
from app.storage.database import Database, Tx

POLL_SEC = 5.0
"""Hints may be lost, and leases of other hubs run out without one."""
PRUNE_SEC = 600.0

Take = Callable[[Tx, str, str, float], tuple[Dispatch, Lease] | None]
TROUBLE_PAUSE_SEC = 1.0

logger = logging.getLogger("relay_hub.dispatch")


class Worker:
    """One hub's share of the work: a task for each dispatch that it holds."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        bus: Bus,
        owner: str,
        runner: Runner,
        callbacks: Callbacks,
    ) -> None:
        self._settings = settings
        self._database = database
        self._bus = bus
        self._owner = owner
        self._runner = runner
        self._callbacks = callbacks
        self._home = str(settings.codex_home)
        self._running: dict[Lease, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Work until the block ends; then stop where we are and let others go on from there at once."""
        if self._database.is_sqlite:
            # The file has one hub: whoever held a lease before is gone.
            await self._database.write(leases.expire)
        loops = [
            asyncio.create_task(loop)
            for loop in (self._work(), self._keep_leases(), self._stop_unwanted(), self._prune())
        ]
        try:
            yield
        finally:
            for task in (*loops, *self._running.values()):
                task.cancel()
            await asyncio.gather(*loops, *self._running.values(), return_exceptions=True)
            await self._callbacks.aclose()
            await self._database.write(leases.expire, self._owner)

    async def accept(self, dispatch: Dispatch, *, only_if_free: bool, at_once: bool) -> Dispatch:
        """Put a dispatch into its thread's line. `at_once`: somebody waits for it, so that a free worker begins in the
        same transaction.

        Raises:
            LineOccupied, AlreadyAccepted: as `dispatches.add`.
            Paused: the loop guard has stopped what the dispatch belongs to, perhaps just now.
        """

        def unit(tx: Tx) -> tuple[Dispatch | loop_guard.Paused, tuple[Dispatch, Lease] | None]:
            # Handed out, not raised: a pause that begins here is to be kept.
            if paused := loop_guard.admit(tx, self._settings, dispatch):
                return paused, None
            accepted = dispatches.add(tx, dispatch, only_if_free)
            return accepted, claims.claim(tx, self._home, self._owner, self._settings.lease_sec) if may_begin else None

        may_begin = at_once and len(self._running) < self._settings.max_turns
        accepted, taken = await self._database.write(unit)
        if isinstance(accepted, loop_guard.Paused):
            raise accepted
        if taken:
            self._begin(*taken, left_behind=False)
        return accepted

    async def _work(self) -> None:
        with self._bus.subscribe(Topic.DISPATCHES) as hints:
            while True:
                try:
                    ahead = await self._database.read(claims.outlook, self._home)
                    if ahead.is_left_behind:
                        # First: their threads are blocked by them.
                        await self._take_all(claims.take_over, left_behind=True)
                    if ahead.is_waiting:
                        await self._take_all(claims.claim, left_behind=False)
                    if ahead.is_untold:
                        await self._callbacks.send_due()
                    soon = POLL_SEC if ahead.next_at is None else ahead.next_at - time.time()
                    await hints.wait(max(0.0, min(POLL_SEC, soon)))
                except BusClosed:
                    return
                except Exception:
                    logger.exception("taking work failed, trying again")
                    await asyncio.sleep(TROUBLE_PAUSE_SEC)

    async def _stop_unwanted(self) -> None:
        """Interrupt the turns that somebody wants stopped."""
        with self._bus.subscribe(Topic.CANCELS) as hints:
            while True:
                try:
                    for dispatch_id in await self._database.read(leases.to_cancel, self._owner):
                        self._runner.stop(dispatch_id)
                    await hints.wait(POLL_SEC)
                except BusClosed:
                    return
                except Exception:
                    logger.exception("looking for what is to be stopped failed, trying again")
                    await asyncio.sleep(TROUBLE_PAUSE_SEC)

    async def _prune(self) -> None:
        """Delete what is older than anybody wants to keep."""
        while True:
            try:
                deleted = await self._database.write(dispatches.prune, self._settings.keep_dispatches)
            except Exception:
                logger.exception("deleting old dispatches failed")
                deleted = 0
            # Other writers come in between, so that none of them waits long.
            await asyncio.sleep(0 if deleted else PRUNE_SEC)

    async def _take_all(self, take: Take, left_behind: bool) -> None:
        """Begin to work on as much as there is room for."""
        free = self._settings.max_turns - len(self._running)
        if free <= 0:
            return

        def unit(tx: Tx) -> list[tuple[Dispatch, Lease]]:
            taken: list[tuple[Dispatch, Lease]] = []
            if left_behind:
                # What our own tasks work on is not, however late its renewal is.
                leases.renew(tx, self._owner, [lease.dispatch_id for lease in self._running], self._settings.lease_sec)
            while len(taken) < free and (found := take(tx, self._home, self._owner, self._settings.lease_sec)):
                taken.append(found)
            return taken

        for dispatch, lease in await self._database.write(unit):
            self._begin(dispatch, lease, left_behind)

    def _begin(self, dispatch: Dispatch, lease: Lease, left_behind: bool) -> None:
        task = asyncio.create_task(self._runner.run(dispatch, lease, left_behind))
        self._running[lease] = task
        task.add_done_callback(partial(self._done, lease))

    def _done(self, lease: Lease, task: asyncio.Task[None]) -> None:
        del self._running[lease]
        if not task.cancelled() and (error := task.exception()):
            logger.error("dispatch %s is left until its lease runs out", lease.dispatch_id, exc_info=error)
        self._bus.publish([Topic.DISPATCHES])

    async def _keep_leases(self) -> None:
        lease_sec = self._settings.lease_sec
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(lease_sec / 3)
            # Only what a task works on: a lease that its task has left behind must run out.
            working = list(self._running.items())
            held: set[Lease] = set()
            try:
                ids = [lease.dispatch_id for lease, _ in working]
                held = await self._database.write(leases.renew, self._owner, ids, lease_sec)
                renewed = time.monotonic()
            except Exception:
                logger.exception("renewing leases failed")
                if time.monotonic() - renewed < lease_sec:
                    continue
            for lease, task in working:
                if lease not in held and not task.done():
                    # Somebody else may work on it by now; two of us in one thread would be worse than none.
                    logger.warning("the lease of dispatch %s is lost, leaving it", lease.dispatch_id)
                    task.cancel()
