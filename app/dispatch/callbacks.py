"""Telling whoever asked how a dispatch ended.

A thread is told by a dispatch of its own, so that it queues, recovers and shows like any other. A channel is told in
the transaction that ends the dispatch. A URL is told by a request that is repeated until it is taken.

A dispatch past its time limit is told of as well; its true end then is told once more.
"""

import asyncio
import logging
import time

from app.dispatch import loop_guard
from app.dispatch.envelopes import completed, event_json, news
from app.dispatch.targets import Target, Targets
from app.dispatch.webhooks import Webhooks
from app.errors import CallbackTargetInvalid, ErrorCode, HubError, TargetBusy
from app.models import CallbackStatus, Dispatch, DispatchStatus, Message, Origin, Outcome
from app.settings import Settings
from app.storage import callbacks as told
from app.storage import dispatches, messages
from app.storage.database import Database, Tx

SHORTEST_SEC, LONGEST_SEC = 15, 90
WEBHOOK_PAUSES_SEC = (3, 7, 15, 60, 300, 1800)
"""Before each further try; after the last one the callback has failed."""
CLAIM_SEC = 60.0
"""For so long no other hub sends the same request; it takes at most half of that."""
HUB, CODEX = "relay-hub", "codex"
"""Senders in a channel: of news about a dispatch, and of a reply."""

logger = logging.getLogger("relay_hub.dispatch")


class Callbacks:
    """Begins the callbacks that are due."""

    def __init__(self, settings: Settings, database: Database, targets: Targets) -> None:
        self._settings = settings
        self._database = database
        self._targets = targets
        self._webhooks = Webhooks(settings)
        self.check_url = self._webhooks.address
        self._requests: dict[str, asyncio.Task[None]] = {}
        self._home = str(settings.codex_home)

    async def aclose(self) -> None:
        """Leave requests that are under way; they are sent again by whoever comes next."""
        for task in self._requests.values():
            task.cancel()
        await asyncio.gather(*self._requests.values(), return_exceptions=True)

    async def send_due(self) -> None:
        """Start every callback that is due. While Codex cannot be asked, those to threads stay due."""
        can_ask = True
        for parent in await self._database.read(told.due, self._home):
            if parent.callback_thread_id is None:
                if parent.id not in self._requests:
                    self._requests[parent.id] = asyncio.create_task(self._request(parent))
            elif can_ask:
                try:
                    target = await self.target(parent.callback_thread_id)
                    await self._database.write(self._begin, parent, target)
                except HubError as error:
                    if can_ask := not error.retryable:
                        await self._database.write(_note, parent.id, CallbackStatus.FAILED, error)

    async def target(self, thread_id: str) -> Target:
        """The thread to tell.

        Raises:
            CallbackTargetInvalid: there is no such thread, or its project is not trusted.
            AppServerUnavailable, NoAnswer: nobody can tell at the moment.
        """
        try:
            return await self._targets.by_id(thread_id)
        except HubError as error:
            if error.retryable:
                raise
            raise CallbackTargetInvalid(
                f"Callback thread could not be resolved: {thread_id} ({error.message})",
                callbackThreadId=thread_id,
                cause=error.message,
            ) from error

    def _begin(self, tx: Tx, parent: Dispatch, target: Target) -> None:
        """Put the news into the line of the thread that asked, if it is still due."""
        # It may have ended since it was read: then its end is the news, not the passing of its time limit.
        present = _still_due(tx, parent)
        if present is not None and present.callback_thread_id == parent.callback_thread_id:
            if paused := loop_guard.standstill(tx, present):
                later = time.time() + loop_guard.PAUSED_SEC
                _note(tx, present.id, CallbackStatus.PENDING, paused, not_before=later)
                return
            child = dispatches.add(tx, self._child(present, target))
            if busy := in_the_way(tx, present, target.thread_id):
                hindered(tx, child, busy)

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
            chain_id=loop_guard.chain_of(parent),
            hops=parent.hops,
        )

    async def _request(self, parent: Dispatch) -> None:
        try:
            present = await self._database.write(_claim_request, parent)
            if present is not None:
                event_id = f"{present.id}/{present.status}"
                refused = await self._webhooks.send(present.callback_url or "", event_json(present), event_id)
                await self._database.write(_requested, present, refused)
        except Exception:
            logger.exception("telling a URL of dispatch %s failed, trying again", parent.id)
        finally:
            del self._requests[parent.id]


def ended(tx: Tx, dispatch: Dispatch, outcome: Outcome) -> Message | None:
    """Do what the end of a dispatch, or the passing of its time limit, asks for. Part of the transaction of that.

    Returns the message that was posted, for the logs.
    """
    _settle(tx, dispatch, outcome)
    posted = None
    if dispatch.callback_channel:
        posted = messages.append(
            tx,
            target=dispatch.callback_channel,
            sender=CODEX if dispatch.status is DispatchStatus.SUCCEEDED else HUB,
            text=news(dispatch),
            source="dispatch",
            dispatch_id=dispatch.id,
        )
    if dispatch.callback_status is not CallbackStatus.NOT_REQUESTED and dispatch.finished_at is not None:
        # Whatever was told of the time limit is out of date; what still waits in a line need not be told at all.
        told.withdraw(tx, dispatch.id)
        if dispatch.callback_status is not CallbackStatus.PENDING:
            told.set_status(tx, dispatch.id, CallbackStatus.PENDING, callback_attempts=0, callback_not_before=0.0)
    return posted


def _settle(tx: Tx, child: Dispatch, outcome: Outcome) -> None:
    """Write to the parent how its callback ended, in the transaction that ends the callback itself."""
    if child.parent_id is None:
        return
    told.hold(tx, child.parent_id)
    parent = dispatches.get(tx.session, child.parent_id)
    if parent is None or (parent.finished_at or 0.0) > child.accepted_at:
        return  # it told of the time limit; the end is yet to be told
    delivered = outcome.status is DispatchStatus.SUCCEEDED
    told.set_status(
        tx,
        child.parent_id,
        CallbackStatus.DELIVERED if delivered else CallbackStatus.FAILED,
        callback_turn_id=outcome.turn_id,
        callback_error_code=outcome.error_code,
        callback_error_message=outcome.error_message,
        callback_delivered_at=child.finished_at if delivered else None,
    )


def in_the_way(tx: Tx, parent: Dispatch, thread_id: str) -> TargetBusy | None:
    """What the news of a dispatch has to wait for in a thread's line, if there is anything."""
    first = dispatches.first_in_line(tx.session, parent.home, thread_id)
    if first is None or first.parent_id == parent.id:
        return None
    return TargetBusy(f"Thread {thread_id} works on dispatch {first.id}.")


def hindered(tx: Tx, child: Dispatch, error: HubError) -> None:
    """Write to the parent why its callback waits."""
    if child.parent_id is not None:
        _note(tx, child.parent_id, CallbackStatus.PENDING, error)


def _still_due(tx: Tx, parent: Dispatch) -> Dispatch | None:
    """The dispatch as it stands now, held against other hubs; None where its callback is not due any more."""
    return dispatches.get(tx.session, parent.id) if told.lock_due(tx, parent) else None


def _note(tx: Tx, dispatch_id: str, status: CallbackStatus, error: HubError, not_before: float = 0.0) -> None:
    said = {"callback_error_code": error.code.value, "callback_error_message": error.message}
    told.set_status(tx, dispatch_id, status, **said, callback_not_before=not_before)


def _claim_request(tx: Tx, parent: Dispatch) -> Dispatch | None:
    """The dispatch as it stands now, with this try counted; None where another hub is at it."""
    present = _still_due(tx, parent)
    if present is None:
        return None
    told.set_status(
        tx,
        present.id,
        CallbackStatus.PENDING,
        callback_attempts=present.callback_attempts + 1,
        callback_not_before=time.time() + CLAIM_SEC,
    )
    return dispatches.get(tx.session, present.id)


def _requested(tx: Tx, parent: Dispatch, refused: str | None) -> None:
    """Write what became of a try. `refused` says why it was not taken; None where it was."""
    told.hold(tx, parent.id)
    present = dispatches.get(tx.session, parent.id)
    if present is None or present.status is not parent.status:
        return  # it told of the time limit; the end is yet to be told
    if refused is None:
        values = {"callback_error_code": None, "callback_error_message": None, "callback_delivered_at": time.time()}
        told.set_status(tx, parent.id, CallbackStatus.DELIVERED, **values)
        return
    attempt = parent.callback_attempts
    is_last = attempt > len(WEBHOOK_PAUSES_SEC)
    told.set_status(
        tx,
        parent.id,
        CallbackStatus.FAILED if is_last else CallbackStatus.PENDING,
        callback_error_code=ErrorCode.CALLBACK_TARGET_INVALID.value,
        callback_error_message=refused,
        callback_not_before=0.0 if is_last else time.time() + WEBHOOK_PAUSES_SEC[attempt - 1],
    )
