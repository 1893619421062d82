"""Leases: how they are kept and ended, and writes that only the present holder of a dispatch can make."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from app.errors import ErrorCode
from app.models import TRANSITIONS, CallbackStatus, Dispatch, DispatchStatus, Lease, Outcome, Topic, TurnItem
from app.storage import threads, turn_items
from app.storage.database import Tx
from app.storage.dispatches import get, note

CANCELLED = "The dispatch was cancelled and its turn stopped."


class LeaseLost(Exception):
    """Somebody else works on the dispatch by now; whoever gets this must stop and write nothing."""


def renew(tx: Tx, owner: str, dispatch_ids: Sequence[str], lease_sec: float) -> set[Lease]:
    """Renew an owner's leases on these dispatches; returns those that it still holds."""
    held = (
        update(Dispatch)
        .where(
            col(Dispatch.owner) == owner,
            col(Dispatch.id).in_(dispatch_ids),
            col(Dispatch.finished_at).is_(None),
        )
        .values(lease_expires_at=time.time() + lease_sec)
        .returning(col(Dispatch.id), col(Dispatch.attempt))
    )
    return {Lease(dispatch_id, owner, attempt) for dispatch_id, attempt in tx.connection.execute(held)}


def expire(tx: Tx, owner: str | None = None) -> None:
    """End leases now: those of one owner that stops, or all, where no other hub can be alive."""
    query = update(Dispatch).where(col(Dispatch.finished_at).is_(None))
    query = query.where(col(Dispatch.owner) == owner if owner else col(Dispatch.owner).is_not(None))
    tx.connection.execute(query.values(lease_expires_at=0.0, not_before=0.0))
    if owner is None:
        untold = update(Dispatch).where(col(Dispatch.callback_status) == CallbackStatus.PENDING)
        tx.connection.execute(untold.values(callback_not_before=0.0))


def to_cancel(session: Session, owner: str) -> list[str]:
    """The dispatches of an owner that somebody wants stopped."""
    query = select(col(Dispatch.id)).where(
        col(Dispatch.owner) == owner,
        col(Dispatch.cancel_requested_at).is_not(None),
        col(Dispatch.finished_at).is_(None),
    )
    return list(session.exec(query).all())


def record_turn(tx: Tx, lease: Lease, turn_id: str) -> bool:
    """Note which turn carries the dispatch; whether somebody wants it stopped by now."""
    _write(tx, lease, turn_id=turn_id, waiting_for=None)
    note(tx, lease.dispatch_id, lease.attempt, "sent", turn_id)
    return _row(tx, lease).cancel_requested_at is not None


def record_queued(tx: Tx, lease: Lease) -> None:
    """Note that the message is about to go into Codex's own queue: from now on it may be there."""
    _write(tx, lease, in_codex_queue=True)
    note(tx, lease.dispatch_id, lease.attempt, "queued_in_codex", "")


def record_progress(tx: Tx, lease: Lease, items: Sequence[TurnItem], values: dict[str, Any]) -> None:
    """Note what the turn said and did since the last time; `values` are `diff` and `usage` where they changed."""
    _write(tx, lease, **values)
    turn_items.record(tx, items)
    tx.emit(Topic.dispatch(lease.dispatch_id))


def time_out(tx: Tx, lease: Lease, message: str) -> Dispatch:
    """The time limit passed. The lease stays: the turn may go on, and its thread stays reserved."""
    _write(
        tx,
        lease,
        status=DispatchStatus.TIMED_OUT,
        error_code=ErrorCode.TURN_TIMEOUT.value,
        error_message=message,
    )
    note(tx, lease.dispatch_id, lease.attempt, "timed_out", message)
    return _row(tx, lease)


def finish(tx: Tx, lease: Lease, outcome: Outcome) -> Dispatch:
    """End the dispatch; its thread is free for the next one."""
    now = time.time()
    found = get(tx.session, lease.dispatch_id)
    if found and found.cancel_requested_at and outcome.status is DispatchStatus.FAILED:
        cancelled = ErrorCode.DISPATCH_CANCELLED.value
        outcome = replace(outcome, status=DispatchStatus.CANCELLED, error_code=cancelled, error_message=CANCELLED)
    started = found.started_at if found and found.started_at else now
    _write(
        tx,
        lease,
        status=outcome.status,
        turn_id=outcome.turn_id or (found.turn_id if found else None),
        reply_text=outcome.reply_text,
        error_code=outcome.error_code,
        error_message=outcome.error_message,
        timing_ms=round((now - started) * 1000),
        finished_at=now,
        owner=None,
        lease_expires_at=None,
        waiting_for=None,
    )
    detail = outcome.error_message or ""
    note(tx, lease.dispatch_id, lease.attempt, outcome.status.value, detail)
    finished = _row(tx, lease)
    if finished.turn_id:
        threads.used(tx, finished.home, finished.thread_id, finished.turn_id)
    return finished


def release(tx: Tx, lease: Lease, reason: str, delay_sec: float = 0.0) -> None:
    """Put the dispatch back at its place in the line: nothing of it was sent."""
    _write(
        tx,
        lease,
        status=DispatchStatus.QUEUED,
        owner=None,
        lease_expires_at=None,
        not_before=time.time() + delay_sec,
        started_at=None,
        turn_id=None,
        in_codex_queue=False,
        waiting_for=reason,
    )
    note(tx, lease.dispatch_id, lease.attempt, "released", reason)


def postpone(tx: Tx, lease: Lease, reason: str, delay_sec: float) -> None:
    """Leave the dispatch as it is and have somebody look again later: another Codex runs its turn."""
    _write(tx, lease, owner=None, lease_expires_at=0.0, not_before=time.time() + delay_sec, waiting_for=reason)
    note(tx, lease.dispatch_id, lease.attempt, "waiting", reason)


def _write(tx: Tx, lease: Lease, **values: Any) -> None:
    """Change the dispatch as the holder of its lease, along TRANSITIONS.

    Raises:
        LeaseLost: the lease is not the dispatch's present one, or the change is not allowed from its state.
    """
    query = update(Dispatch).where(
        col(Dispatch.id) == lease.dispatch_id,
        col(Dispatch.owner) == lease.owner,
        col(Dispatch.attempt) == lease.attempt,
    )
    if status := values.get("status"):
        query = query.where(col(Dispatch.status).in_(_sources(status)))
    result = tx.connection.execute(query.values(updated_at=time.time(), **values))
    if result.rowcount != 1:
        raise LeaseLost(f"attempt {lease.attempt} of dispatch {lease.dispatch_id} is outdated")


def _row(tx: Tx, lease: Lease) -> Dispatch:
    dispatch = get(tx.session, lease.dispatch_id)
    assert dispatch is not None
    return dispatch


def _sources(status: DispatchStatus) -> Sequence[DispatchStatus]:
    return [source for source, targets in TRANSITIONS.items() if status in targets]
