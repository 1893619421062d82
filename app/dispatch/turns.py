"""Following a turn from the moment it runs until it ends: its progress, its time limit, a wish to stop it."""

import asyncio
import contextlib
import logging
import time

from app.codex.client import CodexClient
from app.codex.protocol import Notification, TurnLog, turn_result
from app.codex.watch import Watch
from app.dispatch import callbacks, recovery
from app.dispatch.progress import Progress
from app.errors import DatabaseUnavailable, HubError
from app.logs import Logs
from app.models import Dispatch, DispatchStatus, Lease, Message, Origin, Outcome
from app.settings import Settings
from app.storage import approvals, leases
from app.storage.database import Database, Tx

QUIET_SEC = 30.0
"""Silence after which the thread is asked whether its turn has ended: a completion can get lost."""
STORE_SEC = 0.5
"""Between two writes of what the turn says meanwhile."""
BEGIN_SEC = 2.0
"""A turn begins within milliseconds."""
BEGUN = ("turn/started", "turn/completed")
STOP = Notification("relay-hub/stop", {})
"""Put into a watch by ourselves: somebody wants the turn stopped."""

logger = logging.getLogger("relay_hub.dispatch")


class Turn:
    """The turn of a dispatch, as its worker sees it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        logs: Logs,
        dispatch: Dispatch,
        lease: Lease,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._database = database
        self._logs = logs
        self._dispatch = dispatch
        self._lease = lease
        self._progress = progress
        self._has_begun = False

    async def follow(self, client: CodexClient, watch: Watch, turn_id: str) -> Outcome:
        """Listen until the turn ends. The time limit only changes what the dispatch says meanwhile.

        Raises:
            AppServerUnavailable: the app-server is gone.
            LeaseLost: somebody else works on the dispatch by now.
        """
        log = TurnLog(self._lease.client_message_id, turn_id)
        deadline = self._deadline()
        stored = time.monotonic()
        while not log.completed:
            try:
                async with asyncio.timeout(self._patience(deadline)):
                    notification = await anext(watch)
            except TimeoutError:
                if deadline is not None and time.time() >= deadline:
                    deadline = None
                    await self._time_out(turn_id)
                elif not self._progress.is_dirty and (outcome := await self._ask(client, turn_id)):
                    return outcome
            else:
                self._has_begun |= notification.method in BEGUN
                if notification is STOP:
                    await self._stop(client, turn_id)
                elif notification.params.get("turnId", turn_id) == turn_id:
                    self._progress.feed(notification)
                log.feed(notification)
            if self._progress.is_dirty and time.monotonic() - stored >= STORE_SEC and not log.completed:
                await self._store()
                stored = time.monotonic()
        return recovery.ended(log.result)

    async def begun(self, watch: Watch) -> None:
        """Return once Codex has told anything of the turn, or after a short time."""
        with contextlib.suppress(HubError, TimeoutError):
            async with asyncio.timeout(BEGIN_SEC):
                while not self._has_begun:
                    self._has_begun = (await anext(watch)).method in BEGUN

    def _patience(self, deadline: float | None) -> float:
        """Seconds to wait for the next notification."""
        quiet = STORE_SEC if self._progress.is_dirty else QUIET_SEC
        return quiet if deadline is None else min(quiet, max(0.0, deadline - time.time()))

    def _deadline(self) -> float | None:
        """When the dispatch's own time limit passes. A waiting caller keeps its limit to itself."""
        dispatch = self._dispatch
        if dispatch.origin is Origin.WAIT or dispatch.status is DispatchStatus.TIMED_OUT:
            return None
        limit = dispatch.timeout_sec or self._settings.turn_timeout_ms / 1000
        return (dispatch.started_at or time.time()) + limit

    async def _time_out(self, turn_id: str) -> None:
        message = f"Timed out while waiting for thread {self._dispatch.thread_id} turn {turn_id}"

        def unit(tx: Tx) -> Message | None:
            late = leases.time_out(tx, self._lease, message)
            outcome = Outcome(late.status, error_code=late.error_code, error_message=message)
            return callbacks.ended(tx, late, outcome)

        if posted := await self._database.write(unit):
            self._logs.posted(posted)
        self._logs.activity("dispatch_timed_out", id=self._dispatch.id)

    async def _store(self) -> None:
        items, values = self._progress.taken()
        try:
            await self._database.write(leases.record_progress, self._lease, items, values)
        except DatabaseUnavailable:
            # The turn matters more than its picture.
            self._progress.not_stored(values)
            logger.warning("the progress of dispatch %s could not be stored, trying again", self._dispatch.id)

    async def _stop(self, client: CodexClient, turn_id: str) -> None:
        # Before anything else: from now on nobody can say yes to what the turn asks.
        with contextlib.suppress(HubError):
            await self._database.write(approvals.withdraw, self._dispatch.id)
        # Whatever Codex answers, only the end of the turn counts; the wish is brought up again meanwhile.
        with contextlib.suppress(HubError):
            await client.interrupt(self._dispatch.thread_id, turn_id)

    async def _ask(self, client: CodexClient, turn_id: str) -> Outcome | None:
        """The outcome, if the thread says that the turn has ended although nobody told us."""
        # Whatever is wrong here, the watch goes on; it also notices when Codex is gone.
        with contextlib.suppress(HubError):
            for turn in await client.turns(self._dispatch.thread_id):
                if turn.id == turn_id and turn.ended:
                    return recovery.ended(turn_result(turn))
        return None
