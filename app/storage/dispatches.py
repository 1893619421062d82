"""Dispatches: each thread's line of them, their history, their callbacks."""

import time
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.models import CallbackStatus, Dispatch, DispatchEvent, DispatchStatus, Topic
from app.storage import threads
from app.storage.database import Tx


class LineOccupied(Exception):
    """The thread has an unfinished dispatch already."""

    def __init__(self, active: Dispatch) -> None:
        super().__init__(active.id)
        self.active = active


def add(tx: Tx, dispatch: Dispatch, only_if_free: bool = False) -> Dispatch:
    """Accept a dispatch: it stands at the end of its thread's line once this commits.

    The thread's row is locked first. So a line's order is the order in which its members become visible, and of two
    callers who want the thread for themselves one finds the other.

    Raises:
        LineOccupied: `only_if_free`, and the thread has work.
    """
    threads.remember(
        tx,
        home=dispatch.home,
        thread_id=dispatch.thread_id,
        project_id=dispatch.project_id,
        name=dispatch.thread_name,
    )
    active = first_in_line(tx.session, dispatch.home, dispatch.thread_id) if only_if_free else None
    if active is not None:
        raise LineOccupied(active)
    tx.session.add(dispatch)
    tx.session.flush()
    note(tx, dispatch.id, 0, "accepted", dispatch.origin)
    return dispatch


def set_callback(tx: Tx, dispatch_id: str, status: CallbackStatus, **values: Any) -> None:
    """Write how the callback of a finished dispatch stands."""
    now = time.time()
    tx.connection.execute(
        update(Dispatch).where(col(Dispatch.id) == dispatch_id).values(callback_status=status, updated_at=now, **values)
    )
    note(tx, dispatch_id, 0, f"callback_{status.value}", values.get("callback_error_message") or "")


def get(session: Session, dispatch_id: str) -> Dispatch | None:
    query = select(Dispatch).where(col(Dispatch.id) == dispatch_id)
    return session.exec(query.execution_options(populate_existing=True)).first()


def first_in_line(session: Session, home: str, thread_id: str) -> Dispatch | None:
    """The unfinished dispatch that a new one for this thread would have to wait for, or None."""
    query = select(Dispatch).where(
        col(Dispatch.home) == home,
        col(Dispatch.thread_id) == thread_id,
        col(Dispatch.finished_at).is_(None),
    )
    return session.exec(query.order_by(col(Dispatch.seq)).limit(1)).first()


def leased_threads(session: Session) -> set[str]:
    """Threads in which a worker is busy now; at most as many as turns may run."""
    query = select(col(Dispatch.thread_id)).where(
        col(Dispatch.finished_at).is_(None),
        col(Dispatch.status) != DispatchStatus.QUEUED,
        col(Dispatch.lease_expires_at) > time.time(),
    )
    return set(session.exec(query).all())


def page(session: Session, limit: int, before: int | None = None) -> list[Dispatch]:
    """Dispatches, newest first; `before` is the `seq` of the last one seen."""
    query = select(Dispatch)
    if before is not None:
        query = query.where(col(Dispatch.seq) < before)
    return list(session.exec(query.order_by(col(Dispatch.seq).desc()).limit(limit)).all())


def history(session: Session, dispatch_id: str) -> list[DispatchEvent]:
    query = select(DispatchEvent).where(col(DispatchEvent.dispatch_id) == dispatch_id)
    return list(session.exec(query.order_by(col(DispatchEvent.id))).all())


def due_callbacks(session: Session, home: str, limit: int = 100) -> list[Dispatch]:
    """Finished dispatches whose callback is wanted and not under way."""
    return list(session.exec(_due(home).limit(limit)).all())


def lock_due_callback(tx: Tx, parent: Dispatch) -> bool:
    """Whether a callback is still due, held so that no other hub begins it as well."""
    parent_id = col(Dispatch.id) == parent.id
    tx.session.exec(select(col(Dispatch.seq)).where(parent_id).with_for_update()).first()
    return tx.session.exec(_due(parent.home).where(parent_id)).first() is not None


def _due(home: str) -> SelectOfScalar[Dispatch]:
    child = aliased(Dispatch)
    under_way = select(col(child.seq)).where(col(child.parent_id) == col(Dispatch.id), col(child.finished_at).is_(None))
    return (
        select(Dispatch)
        .where(
            col(Dispatch.home) == home,
            col(Dispatch.callback_status) == CallbackStatus.PENDING,
            col(Dispatch.finished_at).is_not(None),
            ~under_way.exists(),
        )
        .order_by(col(Dispatch.seq))
    )


def note(tx: Tx, dispatch_id: str, attempt: int, kind: str, detail: str) -> None:
    tx.session.add(DispatchEvent(dispatch_id=dispatch_id, attempt=attempt, kind=kind, detail=detail))
    tx.emit(Topic.dispatch(dispatch_id), Topic.DISPATCHES)
