"""What can be done for a dispatch from outside: stop it, tell its end again, help it on, let its chain go on."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.bus import Bus, BusClosed
from app.dispatch import callbacks, loop_guard
from app.dispatch.approvals import OWNER_NAME
from app.dispatch.callbacks import Callbacks
from app.dispatch.recovery import ACTIONABLE, CUT_OFF, Standing, Suggestion, standing
from app.dispatch.targets import Targets
from app.errors import CallbackTargetInvalid, DispatchNotFound, HubError, NotFound
from app.logs import Logs
from app.models import (
    CallbackStatus,
    Dispatch,
    DispatchStatus,
    Message,
    Origin,
    Outcome,
    Pause,
    Principal,
    Scope,
    Topic,
)
from app.settings import Settings
from app.storage import callbacks as told
from app.storage import dispatches, pauses
from app.storage.database import Database, Tx

Tick = Callable[[float, str | None], Awaitable[None]]
"""Told to whoever waits: the seconds so far, and what goes on in a few words."""

TICK_SEC = 10.0
"""Between signs of life to a caller that waits, where nothing else is told."""
LOOK_AGAIN_SEC = 5.0
"""A hint may be lost, so whoever waits looks by itself as well."""
STOP_WAIT_SEC = 5.0
"""An interrupted turn ends within milliseconds; longer than this nobody wants to watch a button."""
NONE = "none"


@dataclass(frozen=True)
class Recovered:
    """What was suggested for a dispatch before it was recovered, and how it stands after."""

    action: str
    standing: Standing
    error: HubError | None = None


class Remedies:
    """Acts on dispatches that exist, for callers who may wait for what comes of it."""

    def __init__(
        self, settings: Settings, database: Database, bus: Bus, logs: Logs, targets: Targets, callbacks: Callbacks
    ) -> None:
        self._database = database
        self._bus = bus
        self._logs = logs
        self._targets = targets
        self._callbacks = callbacks
        self._home = str(settings.codex_home)

    async def standing(self, dispatch_id: str) -> Standing:
        """One dispatch with what could be done about it.

        Raises:
            DispatchNotFound: there is none of this id.
        """
        dispatch = await self._get(dispatch_id)
        return standing(dispatch, await self._database.read(dispatches.leased_threads))

    async def _get(self, dispatch_id: str) -> Dispatch:
        dispatch = None
        if "\0" not in dispatch_id:  # PostgreSQL takes none, not even to compare it
            dispatch = await self._database.read(dispatches.get, dispatch_id)
        if dispatch is None:
            raise DispatchNotFound(f"Dispatch not found: {dispatch_id}", dispatchId=dispatch_id)
        return dispatch

    async def cancel(self, dispatch_id: str) -> Dispatch:
        """Stop a dispatch: one that waits ends at once, a turn that runs is interrupted. What has ended stays.

        Returns the dispatch as it stands after a few seconds at most: a turn that another Codex runs goes on.
        """
        await self._get(dispatch_id)
        posted = await self._database.write(_cancel, dispatch_id)
        self._logs.activity("dispatch_cancel", id=dispatch_id)
        if posted:
            self._logs.posted(posted)
        return await self._until(dispatch_id, lambda dispatch: dispatch.finished_at is not None, STOP_WAIT_SEC)

    async def deliver(
        self, dispatch_id: str, callback_thread_id: str | None, limit_sec: float, tick: Tick | None = None
    ) -> Standing:
        """Tell the end of a dispatch now, also once more; a thread given here is the one to tell from now on.

        A dispatch that has not ended is left alone. Returns when the news has arrived, is refused, or has to wait.

        Raises:
            DispatchNotFound.
            CallbackTargetInvalid: there is nobody to tell, or no such thread.
            AppServerUnavailable: nobody can be told at the moment.
        """
        before = await self.standing(dispatch_id)
        dispatch = before.dispatch
        thread_id = callback_thread_id or dispatch.callback_thread_id
        if thread_id is None and dispatch.callback_url is None:
            raise CallbackTargetInvalid(
                f"Dispatch {dispatch_id} does not have a callback thread.", dispatchId=dispatch_id
            )
        if dispatch.status in (DispatchStatus.QUEUED, DispatchStatus.RUNNING):
            return before
        await self._tell_again(dispatch, thread_id)
        return await self._told(dispatch_id, limit_sec, tick, give_up_when_busy=True)

    async def recover(
        self, dispatch_id: str, callback_thread_id: str | None, limit_sec: float, tick: Tick | None = None
    ) -> Recovered:
        """Do what `recoverySuggested` says, and wait for what comes of it.

        A callback thread given here replaces the recorded one. The engine does most of this by itself; to run a turn
        again that was cut off is only ever done here.
        """
        before = await self.standing(dispatch_id)
        if callback_thread_id and callback_thread_id != before.dispatch.callback_thread_id:
            await self._database.write(_tell_instead, before.dispatch, callback_thread_id)
            before = await self.standing(dispatch_id)
        match before.suggested:
            case Suggestion.DELIVER_CALLBACK | Suggestion.RETRY_CALLBACK:
                await self._tell_again(before.dispatch, before.dispatch.callback_thread_id)
                after = await self._told(dispatch_id, limit_sec, tick, give_up_when_busy=False)
            case None | Suggestion.WAIT_WORKER | Suggestion.WAIT_THREAD_LEASE_EXPIRY:
                after = before
            case suggested:
                if suggested is Suggestion.RERUN_TURN:
                    await self._database.write(dispatches.run_again, dispatch_id, CUT_OFF)
                await self._database.write(dispatches.nudge, dispatch_id)
                await self._until(dispatch_id, lambda dispatch: dispatch.finished_at is not None, limit_sec, tick)
                after = await self.standing(dispatch_id)
        action = before.suggested.value if before.suggested else NONE
        self._logs.activity("dispatch_recover", id=dispatch_id, action=action, status=after.dispatch.status.value)
        return Recovered(action, after)

    async def recover_all(
        self,
        project_id: str | None,
        callback_thread_id: str | None,
        limit: int,
        limit_sec: float,
        tick: Tick | None = None,
    ) -> tuple[list[Recovered], int]:
        """Recover what nobody works on, last changed first, at most `limit`; and how many dispatches there are.

        One that cannot be recovered holds up no other: its error stands in its place. Nothing is run again that was
        cut off.

        Raises:
            ProjectUntrusted: `project_id` is given and is not trusted.
        """
        scope = (await self._targets.project(project_id)).project_id if project_id else None
        rows = await self._database.read(dispatches.actionable, self._home, scope)
        leased = await self._database.read(dispatches.leased_threads)
        # A callback is helped on through the dispatch that owes it.
        stands = (standing(row, leased) for row in rows if row.origin is not Origin.CALLBACK)
        chosen = [each for each in stands if each.suggested in ACTIONABLE and not each.dispatch_lease_active][:limit]
        deadline = time.monotonic() + limit_sec
        recovered: list[Recovered] = []
        for each in chosen:
            left = max(0.0, deadline - time.monotonic())
            try:
                recovered.append(await self.recover(each.dispatch.id, callback_thread_id, left, tick))
            except HubError as error:
                after = await self.standing(each.dispatch.id)
                recovered.append(Recovered(each.suggested.value if each.suggested else NONE, after, error))
        return recovered, await self._database.read(dispatches.count, self._home, scope)

    async def pauses(self) -> list[Pause]:
        """What the loop guard has paused, newest first."""
        return await self._database.read(pauses.unresumed)

    async def resume(self, key: str, principal: Principal) -> Pause:
        """Let what is paused go on. What goes on already stays as it is.

        Raises:
            Forbidden: this is for people with the scope `admin`.
            NotFound: nothing of this key was ever paused.
        """
        principal.require(Scope.ADMIN)
        by = principal.name or OWNER_NAME
        resumed = None if "\0" in key else await self._database.write(loop_guard.resume, key, by)
        if resumed is None:
            raise NotFound(f"Nothing is paused under {key!r}. GET /api/pauses lists what is.", field="key")
        self._logs.activity("dispatches_resumed", pause=key, by=by)
        return resumed

    async def _tell_again(self, dispatch: Dispatch, thread_id: str | None) -> None:
        """Make the callback due, for a thread only if that exists."""
        if thread_id is not None:
            await self._callbacks.target(thread_id)
        await self._database.write(_make_due, dispatch, thread_id)

    async def _told(self, dispatch_id: str, limit_sec: float, tick: Tick | None, give_up_when_busy: bool) -> Standing:
        def settled(dispatch: Dispatch) -> bool:
            is_busy = give_up_when_busy and dispatch.callback_error_code is not None
            return dispatch.callback_status is not CallbackStatus.PENDING or is_busy

        await self._until(dispatch_id, settled, limit_sec, tick)
        return await self.standing(dispatch_id)

    async def _until(
        self, dispatch_id: str, is_it: Callable[[Dispatch], bool], limit_sec: float, tick: Tick | None = None
    ) -> Dispatch:
        """The dispatch once `is_it` holds, or as it stands after `limit_sec` or when the hub stops."""
        started = ticked = time.monotonic()
        with self._bus.subscribe(Topic.dispatch(dispatch_id)) as hints:
            while True:
                dispatch = await self._get(dispatch_id)
                now = time.monotonic()
                if is_it(dispatch) or now - started >= limit_sec:
                    return dispatch
                if tick and now - ticked >= TICK_SEC:
                    ticked = now
                    await tick(now - started, None)
                try:
                    await hints.wait(min(LOOK_AGAIN_SEC, limit_sec - (now - started)))
                except BusClosed:
                    return dispatch


def _cancel(tx: Tx, dispatch_id: str) -> Message | None:
    if not dispatches.request_cancel(tx, dispatch_id, "The dispatch was cancelled before it was sent."):
        return None
    stopped = dispatches.get(tx.session, dispatch_id)
    assert stopped is not None
    outcome = Outcome(stopped.status, error_code=stopped.error_code, error_message=stopped.error_message)
    return callbacks.ended(tx, stopped, outcome)


def _make_due(tx: Tx, dispatch: Dispatch, thread_id: str | None) -> None:
    if thread_id != dispatch.callback_thread_id:
        told.withdraw(tx, dispatch.id)
    # Behind a long turn nobody wants to wait for the news; it stays in line there.
    busy = callbacks.in_the_way(tx, dispatch, thread_id) if thread_id else None
    told.set_status(
        tx,
        dispatch.id,
        CallbackStatus.PENDING,
        callback_thread_id=thread_id,
        callback_error_code=busy.code.value if busy else None,
        callback_error_message=busy.message if busy else None,
        callback_attempts=0,
        callback_not_before=0.0,
    )
    dispatches.nudge(tx, dispatch.id)


def _tell_instead(tx: Tx, dispatch: Dispatch, thread_id: str) -> None:
    was_told = dispatch.callback_status is CallbackStatus.DELIVERED
    told.withdraw(tx, dispatch.id)
    told.set_status(
        tx,
        dispatch.id,
        CallbackStatus.DELIVERED if was_told else CallbackStatus.PENDING,
        callback_thread_id=thread_id,
        callback_error_code=None,
        callback_error_message=None,
    )
