"""One dispatch from claim to end: send it or find out what became of it, follow its turn, write the outcome."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from app.codex.client import CodexClient
from app.codex.pool import Pool
from app.codex.watch import Watch
from app.dispatch import callbacks, recovery
from app.dispatch.codex_queue import IN_QUEUE, CodexQueue
from app.dispatch.envelopes import delegated
from app.dispatch.policy import Policies
from app.dispatch.progress import Progress
from app.dispatch.recovery import Action, Verdict, Writer
from app.dispatch.targets import Targets
from app.dispatch.turns import STOP, Turn
from app.errors import (
    AppServerUnavailable,
    DatabaseUnavailable,
    DispatchCancelled,
    ErrorCode,
    HubError,
    NoAnswer,
    TargetBusy,
    ThreadNotFound,
)
from app.logs import Logs
from app.models import Dispatch, DispatchStatus, Lease, Message, Origin, Outcome
from app.settings import Settings
from app.storage import approvals, leases, turn_items
from app.storage.database import Database, Tx

BUSY_PAUSES_SEC = (3, 7, 15, 30, 60)
"""Between tries at a thread that another Codex holds, for nothing tells us when it lets go. The last one repeats: a
thread that stays open elsewhere must not fill the history."""
LOOK_AGAIN_SEC = 5.0
LET_GO_SEC = 2.0
"""A hub that stops waits no longer for an app-server that does not answer."""
FINISH_TRIES = 5
RETRY_SEC = 0.5
NOT_STORED = AppServerUnavailable("Codex ended before it had stored the message: nothing ran.")

logger = logging.getLogger("relay_hub.dispatch")


class Runner:
    """Runs dispatches that somebody else has claimed."""

    def __init__(self, settings: Settings, database: Database, pool: Pool, targets: Targets, logs: Logs) -> None:
        self._settings = settings
        self._database = database
        self._pool = pool
        self._targets = targets
        self._logs = logs
        self._policies = Policies(settings)
        self._queue = CodexQueue(settings, database)
        self._watches: dict[str, Watch] = {}

    def stop(self, dispatch_id: str) -> None:
        """Have the turn of a dispatch that runs here interrupted."""
        if watch := self._watches.get(dispatch_id):
            watch.put(STOP)

    async def run(self, dispatch: Dispatch, lease: Lease, left_behind: bool) -> None:
        """Bring the dispatch to an end, or leave it for later.

        Cancelled, or failing in a way that nobody foresaw, it leaves everything as it is: the lease runs out, and
        whoever takes the dispatch over asks the thread.
        """
        try:
            known = await self._database.read(turn_items.of_dispatch, dispatch.id) if lease.attempt > 1 else ()
            progress = Progress(dispatch.id, known)
            turn = Turn(self._settings, self._database, self._logs, dispatch, lease, progress)
            if left_behind:
                outcome = await self._recover(dispatch, lease, turn, progress)
            else:
                outcome = await self._deliver(dispatch, lease, turn, progress)
            if outcome is not None:
                await self._finish(lease, outcome, progress)
        except leases.LeaseLost as lost:
            logger.warning("%s", lost)

    async def _deliver(self, dispatch: Dispatch, lease: Lease, turn: Turn, progress: Progress) -> Outcome | None:
        """Send the message and follow its turn. None: the dispatch is left for later."""
        try:
            with _not_sent():
                client = await self._pool.client(dispatch.thread_id)
            with self._watch(client, dispatch) as watch:
                with _not_sent():
                    overrides = await self._open(client, dispatch)
                try:
                    turn_id = await self._send(client, dispatch, lease, overrides)
                    return await turn.follow(client, watch, turn_id)
                except asyncio.CancelledError:
                    # Codex cuts off a turn that only just begins when its thread is let go.
                    await turn.begun(watch)
                    raise
                finally:
                    await self._let_go(client, dispatch)
        except _NotSent as not_sent:
            if self._queue.takes(dispatch, not_sent.error) and await self._queue.put(client, dispatch, lease):
                await self._database.write(leases.postpone, lease, IN_QUEUE, LOOK_AGAIN_SEC)
                return None
            return await self._put_back(dispatch, lease, not_sent.error)
        except DatabaseUnavailable:
            # This says nothing about the turn, which may be running.
            raise
        except AppServerUnavailable as error:
            return await self._recover(dispatch, lease, turn, progress, error)
        except NoAnswer as error:
            # The message may be on its way. The thread knows; whoever takes the dispatch over asks it.
            await self._database.write(leases.postpone, lease, error.message, LOOK_AGAIN_SEC)
            return None
        except HubError as error:
            return _failed(error)

    @contextlib.contextmanager
    def _watch(self, client: CodexClient, dispatch: Dispatch) -> Iterator[Watch]:
        with client.watch(dispatch.thread_id) as watch:
            self._watches[dispatch.id] = watch
            try:
                yield watch
            finally:
                del self._watches[dispatch.id]

    async def _open(self, client: CodexClient, dispatch: Dispatch) -> dict[str, object]:
        """Load the thread and hold it; what its turn is to be started with.

        Raises:
            ProjectUntrusted: its folder is not trusted, or is not the thread's any more.
            TargetBusy: somebody is at work in the thread; our message would be mixed into that turn.
        """
        thread = await self._targets.open(client, dispatch, limits := self._policies.of(dispatch.project_id).limits)
        if thread.status == "active":
            raise TargetBusy(f"Thread {dispatch.thread_id} is already active in Codex.", threadId=dispatch.thread_id)
        return limits.of_turn(thread.sandbox)

    async def _send(self, client: CodexClient, dispatch: Dispatch, lease: Lease, overrides: dict[str, object]) -> str:
        text = delegated(dispatch, self._settings.envelope)
        self._logs.activity("dispatch_started", id=dispatch.id, attempt=lease.attempt)
        turn_id = await client.start_turn(dispatch.thread_id, text, lease.client_message_id, overrides)
        if await self._database.write(leases.record_turn, lease, turn_id):
            self.stop(dispatch.id)
        return turn_id

    async def _put_back(self, dispatch: Dispatch, lease: Lease, error: HubError) -> Outcome | None:
        """Put a dispatch that could not be sent back into its line; or the outcome, where that makes no sense."""
        if dispatch.origin is Origin.WAIT or not error.retryable:
            return _failed(error)
        pause = BUSY_PAUSES_SEC[min(lease.attempt, len(BUSY_PAUSES_SEC)) - 1]

        def unit(tx: Tx) -> None:
            leases.release(tx, lease, error.message, pause)
            callbacks.hindered(tx, dispatch, error)

        await self._database.write(unit)
        return None

    async def _recover(
        self,
        dispatch: Dispatch,
        lease: Lease,
        turn: Turn,
        progress: Progress,
        died: AppServerUnavailable | None = None,
    ) -> Outcome | None:
        """Find out what became of a dispatch whose worker is gone, or whose app-server `died`, and go on from there."""
        try:
            client = await self._pool.client(dispatch.thread_id)
            with self._watch(client, dispatch) as watch:
                verdict, writer = await self._judge(client, dispatch, watch, progress)
                self._logs.activity("dispatch_judged", id=dispatch.id, verdict=verdict.action.value)
                try:
                    match verdict.action:
                        case Action.FOLLOW if verdict.turn_id:
                            if dispatch.cancel_requested_at:
                                self.stop(dispatch.id)
                            return await turn.follow(client, watch, verdict.turn_id)
                        case Action.SEND if dispatch.cancel_requested_at:
                            return _failed(DispatchCancelled("The dispatch was cancelled before it was sent."))
                        case Action.SEND if died:
                            return await self._put_back(dispatch, lease, died)
                        case Action.SEND if dispatch.status is DispatchStatus.RUNNING:
                            await self._database.write(leases.release, lease, "the message never arrived")
                        case Action.SEND:
                            return _failed(NOT_STORED)
                        case Action.WAIT:
                            reason = IN_QUEUE if dispatch.in_codex_queue else "another Codex has the thread open"
                            await self._database.write(leases.postpone, lease, reason, LOOK_AGAIN_SEC)
                        case Action.FINISH:
                            was_cut_off = verdict.outcome and verdict.outcome.error_code == ErrorCode.TURN_INTERRUPTED
                            return _failed(died, verdict.turn_id) if died and was_cut_off else verdict.outcome
                finally:
                    if writer is Writer.HERE:
                        await self._let_go(client, dispatch)
        except ThreadNotFound as error:
            return _failed(error)
        except DatabaseUnavailable:
            raise
        except HubError as error:
            # The thread cannot be asked now. Nothing is decided without it.
            await self._database.write(leases.postpone, lease, error.message, LOOK_AGAIN_SEC)
        return None

    async def _judge(
        self, client: CodexClient, dispatch: Dispatch, watch: Watch, progress: Progress
    ) -> tuple[Verdict, Writer]:
        """What the thread says about our message, and who writes to it. Where we do, the thread is loaded now."""
        turns = await client.turns(dispatch.thread_id)
        turn = recovery.our_turn(dispatch, turns)
        if turn is None and dispatch.in_codex_queue:
            if entry_id := await self._queue.entry(client, dispatch):
                return await self._queue.judge(client, dispatch, watch, entry_id)
            # Between the two questions it may have begun.
            turns = await client.turns(dispatch.thread_id)
            turn = recovery.our_turn(dispatch, turns)
        if turn is not None and turn.status in ("completed", "failed"):
            writer = Writer.NOBODY
        else:
            writer = await self._writer(client, dispatch)
            # Codex lists what it knew when the thread was loaded last: a message that is not there may be in the thread
            # all the same. And the turn may have ended between the two questions.
            turns = await client.turns(dispatch.thread_id)
            turn = recovery.our_turn(dispatch, turns)
        if turn is not None:
            with contextlib.suppress(HubError):
                full = await client.turns(dispatch.thread_id, limit=turns.index(turn) + 1, full=True)
                for item in full[-1].items if full and full[-1].id == turn.id else ():
                    progress.item(item, ended=turn.ended)
        return recovery.judge(turn, writer), writer

    async def _writer(self, client: CodexClient, dispatch: Dispatch) -> Writer:
        """Only loading the thread tells a turn that runs elsewhere from one that was cut off."""
        try:
            thread = await client.resume(dispatch.thread_id, self._policies.of(dispatch.project_id).limits)
        except TargetBusy:
            return Writer.ELSEWHERE
        if thread.status == "active":
            return Writer.HERE
        await self._let_go(client, dispatch)
        return Writer.NOBODY

    async def _let_go(self, client: CodexClient, dispatch: Dispatch) -> None:
        """Unload the thread, so that the user's own Codex can open it at once."""
        with contextlib.suppress(HubError, TimeoutError):
            await asyncio.wait_for(client.unsubscribe(dispatch.thread_id), LET_GO_SEC)

    async def _finish(self, lease: Lease, outcome: Outcome, progress: Progress) -> None:
        """Write the outcome; a database that is busy for a moment must not cost an answer that we have."""
        items, values = progress.taken()

        def unit(tx: Tx) -> tuple[Dispatch, Message | None]:
            approvals.withdraw(tx, lease.dispatch_id)
            leases.record_progress(tx, lease, items, values)
            dispatch = leases.finish(tx, lease, outcome)
            return dispatch, callbacks.ended(tx, dispatch, outcome)

        for attempt in range(1, FINISH_TRIES + 1):
            try:
                finished, posted = await self._database.write(unit)
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
        if posted:
            self._logs.posted(posted)


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


def _failed(error: HubError, turn_id: str | None = None) -> Outcome:
    return Outcome(DispatchStatus.FAILED, turn_id, error_code=error.code.value, error_message=error.message)
