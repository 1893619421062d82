"""Telling a thread how a dispatch ended: a dispatch of its own, so it queues, recovers and shows like any other."""

from app.dispatch.envelopes import completed
from app.dispatch.targets import Target, Targets
from app.errors import AppServerUnavailable, ErrorCode, HubError
from app.models import CallbackStatus, Dispatch, DispatchStatus, Origin, Outcome
from app.settings import Settings
from app.storage import dispatches
from app.storage.database import Database, Tx

SHORTEST_SEC, LONGEST_SEC = 15, 90


class Callbacks:
    """Turns pending callbacks into dispatches for the threads that asked."""

    def __init__(self, settings: Settings, database: Database, targets: Targets) -> None:
        self._settings = settings
        self._database = database
        self._targets = targets
        self._home = str(settings.codex_home)

    async def send_due(self) -> None:
        """Start every callback that is due. One whose app-server is down stays due."""
        for parent in await self._database.read(dispatches.due_callbacks, self._home):
            try:
                target = await self._targets.by_id(parent.callback_thread_id or "")
            except AppServerUnavailable:
                return
            except HubError as error:
                await self._database.write(_fail, parent, error)
            else:
                await self._database.write(_begin, parent, self._child(parent, target))

    def _child(self, parent: Dispatch, target: Target) -> Dispatch:
        default_sec = -(-self._settings.turn_timeout_ms // 1000)
        return Dispatch(
            origin=Origin.CALLBACK,
            parent_id=parent.id,
            home=self._home,
            project_id=target.project.project_id,
            thread_id=target.thread_id,
            thread_name=target.thread_name,
            resolution=target.resolution,
            message=completed(parent),
            timeout_sec=max(SHORTEST_SEC, min(parent.timeout_sec or default_sec, LONGEST_SEC)),
        )


def settle(tx: Tx, child: Dispatch, outcome: Outcome) -> None:
    """Write to the parent how its callback ended, in the transaction that ends the callback itself."""
    if child.parent_id is None:
        return
    delivered = outcome.status is DispatchStatus.SUCCEEDED
    dispatches.set_callback(
        tx,
        child.parent_id,
        CallbackStatus.DELIVERED if delivered else CallbackStatus.FAILED,
        callback_turn_id=outcome.turn_id,
        callback_error_code=outcome.error_code,
        callback_error_message=outcome.error_message,
        callback_delivered_at=child.finished_at if delivered else None,
    )


def _begin(tx: Tx, parent: Dispatch, child: Dispatch) -> None:
    if dispatches.lock_due_callback(tx, parent):
        dispatches.add(tx, child)


def _fail(tx: Tx, parent: Dispatch, error: HubError) -> None:
    dispatches.set_callback(
        tx,
        parent.id,
        CallbackStatus.FAILED,
        callback_error_code=ErrorCode.CALLBACK_TARGET_INVALID.value,
        callback_error_message=f"Callback thread could not be resolved: {parent.callback_thread_id} ({error.message})",
    )
