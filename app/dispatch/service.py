"""The dispatch side of the hub, as the doors use it: submit, wait, look."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from app.bus import Bus, BusClosed
from app.codex.pool import Pool
from app.codex.projects import Project, project_at
from app.dispatch.callbacks import Callbacks
from app.dispatch.recovery import Standing, standing
from app.dispatch.runner import Runner
from app.dispatch.targets import Target, Targets, ThreadRow
from app.dispatch.worker import Worker
from app.errors import AppServerUnavailable, DispatchNotFound, TargetBusy, TurnTimeout, from_code
from app.logs import Logs
from app.models import CallbackStatus, Dispatch, DispatchRequest, DispatchStatus, Origin, Topic
from app.settings import Settings
from app.storage import dispatches
from app.storage.database import Database

Tick = Callable[[float], Awaitable[None]]

TICK_SEC = 10.0
"""Between signs of life to a caller that waits."""
LOOK_AGAIN_SEC = 5.0
"""A hint may be lost, so whoever waits looks by itself as well."""


class ThreadOccupied(TargetBusy):
    """The thread works on another dispatch; the one in the way is at hand."""

    def __init__(self, active: Dispatch) -> None:
        turn = f", turn {active.turn_id}" if active.turn_id else ""
        hint = "Use relay_dispatch_status with the active dispatch id."
        super().__init__(
            f"Thread {active.thread_id} already has an active relay dispatch lease from dispatch {active.id} "
            f"({active.status}{turn}). Use relay_dispatch_status before sending another message.",
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
        self._pool = Pool(settings)
        self._targets = Targets(settings, database, self._pool)
        runner = Runner(settings, database, self._pool, self._targets, logs)
        callbacks = Callbacks(settings, database, self._targets)
        self._worker = Worker(settings, database, bus, owner, runner, callbacks)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Work until the block ends; then hand over what is unfinished and stop Codex."""
        try:
            async with self._worker.run():
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

        Raises:
            ThreadOccupied: a caller that waits does not queue behind another dispatch.
            ProjectUntrusted, ThreadNotFound, TargetAmbiguous, TargetBusy, AppServerUnavailable.
        """
        target = await self._targets.resolve(request)
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
            callback_thread_id=request.callback_thread_id,
            callback_status=(CallbackStatus.PENDING if request.callback_thread_id else CallbackStatus.NOT_REQUESTED),
        )
        try:
            # Whoever waits does not queue: behind a long turn the answer would come too late for any client.
            accepted = await self._database.write(dispatches.add, dispatch, only_if_free=origin is Origin.WAIT)
        except dispatches.LineOccupied as occupied:
            raise ThreadOccupied(occupied.active) from None
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
        started = time.monotonic()
        while dispatch.finished_at is None and (left := started + limit_sec - time.monotonic()) > 0:
            dispatch = await self.wait(dispatch.id, min(left, TICK_SEC))
            if dispatch.finished_at is None:
                await tick(time.monotonic() - started)
        if dispatch.finished_at is None:
            raise self._timed_out(dispatch)
        if dispatch.status is not DispatchStatus.SUCCEEDED:
            raise from_code(
                dispatch.error_code,
                dispatch.error_message,
                dispatchId=dispatch.id,
                threadId=dispatch.thread_id,
                turnId=dispatch.turn_id,
            )
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
            recoverySuggested="Use relay_dispatch_status with this dispatch id.",
        )

    async def wait(self, dispatch_id: str, timeout_sec: float) -> Dispatch:
        """The dispatch once it has finished, or as it stands after `timeout_sec`.

        Raises:
            AppServerUnavailable: the hub stops meanwhile; the dispatch is safe.
        """
        with self._bus.subscribe(Topic.dispatch(dispatch_id)) as hints:
            try:
                async with asyncio.timeout(timeout_sec):
                    while (dispatch := await self.get(dispatch_id)).finished_at is None:
                        await hints.wait(LOOK_AGAIN_SEC)
            except TimeoutError:
                return await self.get(dispatch_id)
            except BusClosed:
                raise AppServerUnavailable(
                    f"The hub is stopping. Ask relay_dispatch_status for {dispatch_id} once it is back.",
                    dispatchId=dispatch_id,
                ) from None
        return dispatch

    async def get(self, dispatch_id: str) -> Dispatch:
        """One dispatch as it stands.

        Raises:
            DispatchNotFound: there is none of this id.
        """
        dispatch = None
        if "\0" not in dispatch_id:  # PostgreSQL takes none, not even to compare it
            dispatch = await self._database.read(dispatches.get, dispatch_id)
        if dispatch is None:
            raise DispatchNotFound(f"Dispatch not found: {dispatch_id}", dispatchId=dispatch_id)
        return dispatch

    async def standing(self, dispatch_id: str) -> Standing:
        """One dispatch with what could be done about it.

        Raises:
            DispatchNotFound: there is none of this id.
        """
        dispatch = await self.get(dispatch_id)
        leased = await self._database.read(dispatches.leased_threads)
        return standing(dispatch, leased)

    async def page(self, limit: int, before: int | None = None) -> list[Standing]:
        """Dispatches, newest first; `before` is the `seq` of the last one seen."""
        rows = await self._database.read(dispatches.page, limit, before)
        leased = await self._database.read(dispatches.leased_threads)
        return [standing(row, leased) for row in rows]
