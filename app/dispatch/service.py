"""The dispatch side of the hub, as the doors use it: submit, wait, look."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.bus import Bus, BusClosed
from app.codex.pool import Pool
from app.codex.projects import Project, project_at
from app.dispatch import loop_guard
from app.dispatch.approvals import Approvals
from app.dispatch.callbacks import Callbacks
from app.dispatch.recovery import Standing, failure, standing
from app.dispatch.remedies import LOOK_AGAIN_SEC, TICK_SEC, Remedies, Tick
from app.dispatch.runner import Runner
from app.dispatch.targets import Target, Targets, ThreadRow
from app.dispatch.worker import Worker
from app.errors import (
    AppServerUnavailable,
    BadRequest,
    IdempotencyConflict,
    NestedSendRefused,
    TargetBusy,
    TurnTimeout,
)
from app.logs import Logs
from app.models import CallbackStatus, Dispatch, DispatchRequest, DispatchStatus, Origin, Topic
from app.settings import CONTROL, Settings
from app.storage import dispatches, pauses, turn_items
from app.storage.database import Database

NEWS_SEC = 1.0
"""Between signs of life to a caller that waits, where the turn itself gives some."""
MAX_KEY_CHARS = 200


class ThreadOccupied(TargetBusy):
    """The thread works on another dispatch; the one in the way is at hand."""

    def __init__(self, active: Dispatch) -> None:
        turn = f", turn {active.turn_id}" if active.turn_id else ""
        hint = "Use relay_dispatch_status or relay_dispatch_recover with the active dispatch id."
        super().__init__(
            f"Thread {active.thread_id} already has an active relay dispatch lease from dispatch {active.id} "
            f"({active.status}{turn}). Use relay_dispatch_status or relay_dispatch_recover before sending another "
            "message.",
            threadId=active.thread_id,
            activeDispatchId=active.id,
            activeDispatchStatus=active.status.value,
            activeTurnId=active.turn_id,
            recoverySuggested=hint,
        )
        self.active = active


class Dispatches:
    """Accepts work for Codex threads and answers for it until it has ended."""

    def __init__(self, settings: Settings, database: Database, bus: Bus, logs: Logs, owner: str) -> None:
        self._settings = settings
        self._database = database
        self._bus = bus
        self._logs = logs
        self._home = str(settings.codex_home)
        self.state_path = str(database)
        self.approvals = Approvals(settings, database, bus, logs)
        self._pool = Pool(settings, self.approvals.ask)
        self._targets = Targets(settings, database, self._pool)
        runner = Runner(settings, database, self._pool, self._targets, logs)
        callbacks = Callbacks(settings, database, self._targets)
        self._worker = Worker(settings, database, bus, owner, runner, callbacks)
        self._check_url = callbacks.check_url
        remedies = Remedies(settings, database, bus, logs, self._targets, callbacks)
        self.standing, self.cancel = remedies.standing, remedies.cancel
        self.deliver, self.recover, self.recover_all = remedies.deliver, remedies.recover, remedies.recover_all
        self.pauses, self.resume = remedies.pauses, remedies.resume

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Work until the block ends; then hand over what is unfinished and stop Codex."""
        try:
            async with self.approvals.run(), self._worker.run():
                yield
        finally:
            await self._pool.aclose()

    async def projects(self) -> list[Project]:
        return await self._targets.projects()

    def project_name(self, project_id: str) -> str:
        return project_at(project_id).name

    async def threads(self, project_id: str, query: str = "") -> tuple[Project, list[ThreadRow]]:
        project = await self._targets.project(project_id)
        return project, await self._targets.threads(project, query)

    async def create_thread(self, project_id: str, name: str | None) -> Target:
        return await self._targets.create(await self._targets.project(project_id), name)

    async def submit(self, request: DispatchRequest, origin: Origin = Origin.ASYNC) -> Dispatch:
        """Accept a request: it is durable and will be worked on when this returns.

        A request that brings the idempotency key of an earlier one gets that one's dispatch.

        Raises:
            ThreadOccupied: a caller that waits does not queue behind another dispatch, nor does one that says so.
            NestedSendRefused: the caller's own turn was dispatched, and it may not wait or go further.
            LoopGuard: a budget is spent, and a human has to let it go on.
            IdempotencyConflict: the key was used for another request.
            BadRequest, ProjectUntrusted, ThreadNotFound, TargetAmbiguous, TargetBusy, AppServerUnavailable.
        """
        await self._check(request)
        if known := await self._known(request):
            return known
        place = loop_guard.place(self._settings, await self._caller(request), origin)
        # Asked again when it is accepted; but what is paused should make no threads meanwhile.
        if counted := loop_guard.budgets(self._settings, self._home, place.get("chain_id")):
            for pause in await self._database.read(pauses.among, [budget.key for budget in counted]):
                raise loop_guard.Paused(pause)
        target = await self._targets.resolve(request)
        if target.thread_id == request.caller_thread_id:
            raise NestedSendRefused("A thread cannot dispatch to itself.", threadId=target.thread_id)
        wants_callback = request.callback_thread_id or request.callback_url
        dispatch = Dispatch(
            origin=origin,
            home=self._home,
            project_id=target.project.project_id,
            thread_id=target.thread_id,
            thread_name=target.thread_name,
            created=target.created,
            resolution=target.resolution,
            warning=target.warning,
            message=request.message,
            timeout_sec=request.timeout_sec,
            caller_thread_id=request.caller_thread_id,
            requested_by=request.requested_by,
            requested_badge=request.requested_badge,
            **place,
            idempotency_key=request.idempotency_key,
            callback_thread_id=request.callback_thread_id,
            callback_url=request.callback_url,
            callback_channel=request.callback_channel,
            callback_status=CallbackStatus.PENDING if wants_callback else CallbackStatus.NOT_REQUESTED,
        )
        # Whoever waits does not queue: behind a long turn the answer would come too late for any client.
        only_if_free = origin is Origin.WAIT or not request.queue_if_busy
        try:
            accepted = await self._worker.accept(dispatch, only_if_free=only_if_free, at_once=origin is Origin.WAIT)
        except dispatches.LineOccupied as occupied:
            raise ThreadOccupied(occupied.active) from None
        except dispatches.AlreadyAccepted as found:
            return _same(found.dispatch, request)
        except loop_guard.Paused as paused:
            if paused.posted:
                self._logs.posted(paused.posted)
            self._logs.activity("dispatch_refused", pause=paused.details["pause"])
            raise
        self._logs.activity(
            "dispatch_accepted",
            id=accepted.id,
            origin=origin.value,
            project=accepted.project_id,
            thread=accepted.thread_id,
            message_len=len(request.message),
        )
        return accepted

    async def send(self, request: DispatchRequest, limit_sec: float, tick: Tick) -> Dispatch:
        """Submit and wait for the reply, at most `limit_sec`; `tick` is told the seconds waited.

        Raises:
            TurnTimeout: the dispatch goes on without the caller; `recoveryDispatchId` names it.
            ThreadOccupied: the thread works on another dispatch, nothing was sent.
            HubError: whatever ended the dispatch without a reply.
        """
        dispatch = await self.submit(request, Origin.WAIT)
        dispatch = await self._watch(dispatch, limit_sec, tick)
        if dispatch.finished_at is None:
            raise self._timed_out(dispatch)
        if dispatch.status is not DispatchStatus.SUCCEEDED:
            raise failure(dispatch)
        return dispatch

    def _timed_out(self, dispatch: Dispatch) -> TurnTimeout:
        cause = f"Timed out while waiting for thread {dispatch.thread_id} turn {dispatch.turn_id}"
        return TurnTimeout(
            f"{cause} Recovery dispatch {dispatch.id} is continuing in background.",
            cause=cause,
            threadId=dispatch.thread_id,
            turnId=dispatch.turn_id,
            recoveryDispatchId=dispatch.id,
            recoveryDispatchStatus=dispatch.status.value,
            recoveryScheduled=True,
            recoveryStatePath=self.state_path,
            recoverySuggested="Use relay_dispatch_status or relay_dispatch_recover with this dispatch id.",
        )

    async def _watch(self, dispatch: Dispatch, limit_sec: float, tick: Tick) -> Dispatch:
        """The dispatch once it has finished, or as it stands after `limit_sec`; `tick` hears what its turn does.

        Raises:
            AppServerUnavailable: the hub stops meanwhile; the dispatch is safe.
        """
        started = ticked = time.monotonic()
        # First of all its name: whoever gives up waiting can ask for it.
        note: str | None = f"dispatch {dispatch.id}"
        await tick(0.0, note)
        with self._bus.subscribe(Topic.dispatch(dispatch.id)) as hints:
            while dispatch.finished_at is None and (left := started + limit_sec - time.monotonic()) > 0:
                try:
                    await hints.wait(min(left, LOOK_AGAIN_SEC))
                except BusClosed:
                    raise AppServerUnavailable(
                        f"The hub is stopping. Ask relay_dispatch_status for {dispatch.id} once it is back.",
                        dispatchId=dispatch.id,
                    ) from None
                found = await self._database.read(dispatches.get, dispatch.id)
                dispatch = found or dispatch
                now = time.monotonic()
                if dispatch.finished_at is None and now - ticked >= NEWS_SEC:
                    latest = await self._database.read(turn_items.latest, dispatch.id)
                    if latest != note or now - ticked >= TICK_SEC:
                        note, ticked = latest, now
                        await tick(now - started, latest)
        return dispatch

    async def _check(self, request: DispatchRequest) -> None:
        """Raises BadRequest for what no database and no later step would complain of in time."""
        channel, key = request.callback_channel, request.idempotency_key
        if channel is not None and (CONTROL.search(channel) or len(channel) > self._settings.max_name_chars):
            most = self._settings.max_name_chars
            raise BadRequest(
                f"callbackChannel must have at most {most} characters (max_name_chars) and no control characters",
                field="callbackChannel",
            )
        if key is not None and len(key) > MAX_KEY_CHARS:
            raise BadRequest(f"idempotencyKey must have at most {MAX_KEY_CHARS} characters", field="idempotencyKey")
        if request.callback_url is not None:
            if request.callback_thread_id is not None:
                raise BadRequest("give callbackThreadId or callbackUrl, not both", field="callbackUrl")
            await self._check_url(request.callback_url)

    async def _known(self, request: DispatchRequest) -> Dispatch | None:
        """The dispatch that was accepted under the request's key."""
        if request.idempotency_key is None:
            return None
        known = await self._database.read(dispatches.by_key, self._home, request.idempotency_key)
        return None if known is None else _same(known, request)

    async def _caller(self, request: DispatchRequest) -> Dispatch | None:
        """The dispatch whose turn asks, if that is one."""
        if request.caller_thread_id is None:
            return None
        return await self._database.read(dispatches.running_in, self._home, request.caller_thread_id)

    async def page(self, limit: int, before: int | None = None, **filters: Any) -> list[Standing]:
        """Dispatches, newest first; `before` is the `seq` of the last one seen, `filters` those of the storage."""
        if filters.get("project_id"):
            filters["project_id"] = project_at(filters["project_id"]).project_id
        rows = await self._database.read(dispatches.page, limit, before, **filters)
        leased = await self._database.read(dispatches.leased_threads)
        return [standing(row, leased) for row in rows]


def _same(known: Dispatch, request: DispatchRequest) -> Dispatch:
    """The dispatch that the key stands for, if it does stand for this request."""
    asked = (request.message, request.callback_thread_id, request.callback_channel, request.callback_url)
    was = (known.message, known.callback_thread_id, known.callback_channel, known.callback_url)
    if asked != was or (request.thread_id or known.thread_id) != known.thread_id:
        raise IdempotencyConflict(
            f"This idempotencyKey was used for dispatch {known.id}, which asks for something else. Take a new key for "
            "each request.",
            field="idempotencyKey",
            dispatchId=known.id,
        )
    return known
