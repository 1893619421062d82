"""One dispatch from claim to end: send it or find out what became of it, follow its turn, write the outcome."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator

from app.codex.client import CodexClient, Watch
from app.codex.pool import Pool
from app.codex.protocol import TurnLog, turn_result
from app.dispatch import callbacks, recovery
from app.dispatch.envelopes import delegated
from app.dispatch.recovery import Action, Writer
from app.dispatch.targets import Targets
from app.errors import (
    DatabaseUnavailable,
    ErrorCode,
    HubError,
    InternalError,
    NoAnswer,
    TargetBusy,
    ThreadNotFound,
)
from app.logs import Logs
from app.models import Dispatch, DispatchStatus, Lease, Origin, Outcome
from app.settings import Settings
from app.storage import leases
from app.storage.database import Database, Tx

BUSY_PAUSE_SEC = 5.0
"""Between looks at a thread that another Codex holds; nothing tells us when it lets go."""
LONGEST_PAUSE_SEC = 60.0
QUIET_SEC = 30.0
"""Silence after which the thread is asked whether its turn has ended: a completion can get lost."""
LET_GO_SEC = 2.0
"""A hub that stops waits no longer for an app-server that does not answer."""
FINISH_TRIES = 5
RETRY_SEC = 0.5

logger = logging.getLogger("relay_hub.dispatch")


class Runner:
    """Runs dispatches that somebody else has claimed."""

    def __init__(self, settings: Settings, database: Database, pool: Pool, targets: Targets, logs: Logs) -> None:
        self._settings = settings
        self._database = database
        self._pool = pool
        self._targets = targets
        self._logs = logs

    async def run(self, dispatch: Dispatch, lease: Lease, left_behind: bool) -> None:
        """Bring the dispatch to an end, or leave it for later.

        Cancelled, or failing in a way that nobody foresaw, it leaves everything as it is: the lease runs out, and
        whoever takes the dispatch over asks the thread.
        """
        try:
            if left_behind:
                outcome = await self._recover(dispatch, lease)
            else:
                outcome = await self._deliver(dispatch, lease)
            if outcome is not None:
                await self._finish(lease, outcome)
        except leases.LeaseLost as lost:
            logger.warning("%s", lost)

    async def _deliver(self, dispatch: Dispatch, lease: Lease) -> Outcome | None:
        """Send the message and follow its turn. None: the dispatch is left for later."""
        try:
            with _not_sent():
                client = await self._pool.client(dispatch.thread_id)
            with client.watch(dispatch.thread_id) as watch:
                with _not_sent():
                    await self._open(client, dispatch)
                try:
                    return await self._send(client, watch, dispatch, lease)
                finally:
                    await self._let_go(client, dispatch)
        except _NotSent as not_sent:
            error = not_sent.error
            if dispatch.origin is Origin.WAIT or not error.retryable:
                return _failed(error)
            await self._database.write(leases.release, lease, error.message, _pause(lease))
            return None
        except DatabaseUnavailable:
            # This says nothing about the turn, which may be running.
            raise
        except NoAnswer as error:
            # The message may be on its way. The thread knows; whoever takes the dispatch over asks it.
            await self._database.write(leases.postpone, lease, error.message, BUSY_PAUSE_SEC)
            return None
        except HubError as error:
            return _failed(error)

    async def _open(self, client: CodexClient, dispatch: Dispatch) -> None:
        """Load the thread and hold it.

        Raises:
            ProjectUntrusted: trust was withdrawn while the dispatch waited.
            TargetBusy: somebody is at work in the thread; our message would be mixed into that turn.
        """
        await self._targets.project(dispatch.project_id)
        thread = await client.resume(dispatch.thread_id, self._settings.codex_sandbox)
        if thread.status == "active":
            raise TargetBusy(f"Thread {dispatch.thread_id} is already active in Codex.", threadId=dispatch.thread_id)

    async def _send(self, client: CodexClient, watch: Watch, dispatch: Dispatch, lease: Lease) -> Outcome:
        text = delegated(dispatch.message, self._settings.envelope)
        self._logs.activity("dispatch_started", id=dispatch.id, attempt=lease.attempt)
        turn_id = await client.start_turn(dispatch.thread_id, text, lease.client_message_id)
        await self._database.write(leases.record_turn, lease, turn_id)
        log = TurnLog(lease.client_message_id, turn_id)
        return await self._follow(client, watch, log, dispatch, lease)

    async def _follow(
        self, client: CodexClient, watch: Watch, log: TurnLog, dispatch: Dispatch, lease: Lease
    ) -> Outcome:
        """Listen until the turn ends. The time limit only changes what the dispatch says meanwhile."""
        deadline = self._deadline(dispatch)
        while not log.completed:
            quiet = QUIET_SEC if deadline is None else min(QUIET_SEC, max(0.0, deadline - time.time()))
            try:
                async with asyncio.timeout(quiet):
                    log.feed(await anext(watch))
            except TimeoutError:
                if deadline is not None and time.time() >= deadline:
                    deadline = None
                    await self._time_out(dispatch, lease, log)
                elif outcome := await self._ask(client, dispatch, log):
                    return outcome
        return recovery.ended(log.result)

    async def _time_out(self, dispatch: Dispatch, lease: Lease, log: TurnLog) -> None:
        message = f"Timed out while waiting for thread {dispatch.thread_id} turn {log.turn_id}"

        def unit(tx: Tx) -> None:
            leases.time_out(tx, lease, message)
            callbacks.settle(
                tx,
                dispatch,
                Outcome(DispatchStatus.TIMED_OUT, error_code=ErrorCode.TURN_TIMEOUT, error_message=message),
            )

        await self._database.write(unit)

    async def _ask(self, client: CodexClient, dispatch: Dispatch, log: TurnLog) -> Outcome | None:
        """The outcome, if the thread says that the turn has ended although nobody told us."""
        # Whatever is wrong here, the watch goes on; it also notices when Codex is gone.
        with contextlib.suppress(HubError):
            for turn in await client.turns(dispatch.thread_id):
                if turn.id == log.turn_id and turn.ended:
                    return recovery.ended(turn_result(turn))
        return None

    def _deadline(self, dispatch: Dispatch) -> float | None:
        """When the dispatch's own time limit passes. A waiting caller keeps its limit to itself."""
        if dispatch.origin is Origin.WAIT or dispatch.status is DispatchStatus.TIMED_OUT:
            return None
        limit = dispatch.timeout_sec or self._settings.turn_timeout_ms / 1000
        return (dispatch.started_at or time.time()) + limit

    async def _recover(self, dispatch: Dispatch, lease: Lease) -> Outcome | None:
        """Find out what became of a dispatch whose worker is gone, and go on from there."""
        try:
            client = await self._pool.client(dispatch.thread_id)
            with client.watch(dispatch.thread_id) as watch:
                turn = recovery.our_turn(dispatch, await client.turns(dispatch.thread_id))
                writer = Writer.NOBODY
                if turn is not None and turn.status not in ("completed", "failed"):
                    writer = await self._writer(client, dispatch)
                try:
                    verdict = recovery.judge(turn, writer)
                    self._logs.activity("dispatch_judged", id=dispatch.id, verdict=verdict.action.value)
                    match verdict.action:
                        case Action.FOLLOW:
                            log = TurnLog(lease.client_message_id, verdict.turn_id)
                            return await self._follow(client, watch, log, dispatch, lease)
                        case Action.SEND if dispatch.status is DispatchStatus.RUNNING:
                            await self._database.write(leases.release, lease, "the message never arrived")
                        case Action.SEND:
                            return _failed(InternalError("The turn timed out and left no trace in its thread."))
                        case Action.WAIT:
                            reason = "another Codex runs the turn"
                            await self._database.write(leases.postpone, lease, reason, BUSY_PAUSE_SEC)
                        case Action.FINISH:
                            return verdict.outcome
                finally:
                    if writer is Writer.HERE:
                        await self._let_go(client, dispatch)
        except ThreadNotFound as error:
            return _failed(error)
        except HubError as error:
            # The thread cannot be asked now. Nothing is decided without it.
            await self._database.write(leases.postpone, lease, error.message, BUSY_PAUSE_SEC)
        return None

    async def _writer(self, client: CodexClient, dispatch: Dispatch) -> Writer:
        """Only loading the thread tells a turn that runs elsewhere from one that was cut off."""
        try:
            thread = await client.resume(dispatch.thread_id)
        except TargetBusy:
            return Writer.ELSEWHERE
        if thread.status == "active":
            return Writer.HERE
        await self._let_go(client, dispatch)
        return Writer.NOBODY

    async def _let_go(self, client: CodexClient, dispatch: Dispatch) -> None:
        """Unload the thread, so that the user's own Codex can open it at once."""
        with contextlib.suppress(HubError, TimeoutError):
            async with asyncio.timeout(LET_GO_SEC):
                await client.unsubscribe(dispatch.thread_id)

    async def _finish(self, lease: Lease, outcome: Outcome) -> None:
        """Write the outcome; a database that is busy for a moment must not cost an answer that we have."""

        def unit(tx: Tx) -> Dispatch:
            dispatch = leases.finish(tx, lease, outcome)
            callbacks.settle(tx, dispatch, outcome)
            return dispatch

        for attempt in range(1, FINISH_TRIES + 1):
            try:
                finished = await self._database.write(unit)
                break
            except leases.LeaseLost:
                raise
            except Exception:
                if attempt == FINISH_TRIES:
                    raise
                logger.exception("writing the end of dispatch %s failed, trying again", lease.dispatch_id)
                await asyncio.sleep(RETRY_SEC * attempt)
        self._logs.activity(
            "dispatch_finished",
            id=finished.id,
            status=finished.status.value,
            error_code=finished.error_code,
            timing_ms=finished.timing_ms,
            reply_len=len(finished.reply_text or ""),
        )


class _NotSent(Exception):
    """What kept the message from being sent."""

    def __init__(self, error: HubError) -> None:
        super().__init__(error.message)
        self.error = error


@contextlib.contextmanager
def _not_sent() -> Iterator[None]:
    try:
        yield
    except HubError as error:
        raise _NotSent(error) from error


def _pause(lease: Lease) -> float:
    """Longer with each attempt, so that a thread that stays open elsewhere does not fill the history."""
    return min(BUSY_PAUSE_SEC * lease.attempt, LONGEST_PAUSE_SEC)


def _failed(error: HubError) -> Outcome:
    return Outcome(DispatchStatus.FAILED, error_code=error.code.value, error_message=error.message)
