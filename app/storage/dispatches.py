"""Dispatches: each thread's line of them, their history, their callbacks."""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, or_, text, update
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.errors import ErrorCode
from app.models import Approval, CallbackStatus, Dispatch, DispatchEvent, DispatchStatus, Pause, Topic, TurnItem
from app.storage import threads
from app.storage.database import Tx
from app.storage.statement import Statement

_KEYED = text("SELECT pg_advisory_xact_lock(8012, hashtext(:key))")
"""Of two callers that bring the same key at once, the second one finds what the first one wrote."""
PRUNED_AT_ONCE = 500

_COLUMNS = [name for name in Dispatch.model_fields if name != "seq"]
_ENUMS = ("origin", "status", "callback_status")
_ADD = Statement(
    lambda insert: insert(Dispatch).values({name: bindparam(name) for name in _COLUMNS}).returning(col(Dispatch.seq))
)
_NOTE = Statement(
    lambda insert: insert(DispatchEvent).values(
        {name: bindparam(name) for name in ("dispatch_id", "ts", "attempt", "kind", "detail")}
    )
)


class AlreadyAccepted(Exception):
    """A dispatch with this idempotency key exists."""

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__(dispatch.id)
        self.dispatch = dispatch


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
        AlreadyAccepted: the idempotency key was used before.
        LineOccupied: `only_if_free`, and the thread has work.
    """
    refuse_repetition(tx, dispatch)
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
    # By hand: as an entity it would cost as much as all the rest of accepting it.
    row = {column: getattr(dispatch, column) for column in _COLUMNS}
    row |= {column: row[column].value for column in _ENUMS}
    (dispatch.seq,) = _ADD.run(tx.connection, **row).fetchone()
    note(tx, dispatch.id, 0, "accepted", dispatch.origin.value)
    return dispatch


def refuse_repetition(tx: Tx, dispatch: Dispatch) -> None:
    """Raises AlreadyAccepted: the dispatch's idempotency key was used before."""
    if key := dispatch.idempotency_key:
        if tx.dialect == "postgresql":
            tx.connection.execute(_KEYED, {"key": key})
        if known := by_key(tx.session, dispatch.home, key):
            raise AlreadyAccepted(known)


def request_cancel(tx: Tx, dispatch_id: str, reason: str) -> bool:
    """Note that a dispatch is to be stopped. One that nobody works on ends here and now; True then.

    A dispatch that has ended stays as it is.
    """
    now = time.time()
    unfinished = update(Dispatch).where(col(Dispatch.id) == dispatch_id, col(Dispatch.finished_at).is_(None))
    stopped = unfinished.where(col(Dispatch.status) == DispatchStatus.QUEUED).values(
        status=DispatchStatus.CANCELLED,
        error_code=ErrorCode.DISPATCH_CANCELLED.value,
        error_message=reason,
        cancel_requested_at=now,
        finished_at=now,
        updated_at=now,
        waiting_for=None,
    )
    if tx.connection.execute(stopped).rowcount:
        note(tx, dispatch_id, 0, DispatchStatus.CANCELLED, reason)
        return True
    asked = unfinished.where(col(Dispatch.cancel_requested_at).is_(None))
    if tx.connection.execute(asked.values(cancel_requested_at=now, updated_at=now, not_before=0.0)).rowcount:
        note(tx, dispatch_id, 0, "cancel_requested", reason)
        tx.emit(Topic.CANCELS)
    return False


def run_again(tx: Tx, dispatch_id: str, error_codes: Sequence[str]) -> None:
    """Put a dispatch back into its thread's line, if it has failed with one of these errors."""
    now = time.time()
    again = (
        update(Dispatch)
        .where(
            col(Dispatch.id) == dispatch_id,
            col(Dispatch.status) == DispatchStatus.FAILED,
            col(Dispatch.error_code).in_(error_codes),
        )
        .values(
            status=DispatchStatus.QUEUED,
            turn_id=None,
            error_code=None,
            error_message=None,
            timing_ms=None,
            started_at=None,
            finished_at=None,
            cancel_requested_at=None,
            not_before=0.0,
            updated_at=now,
        )
    )
    if tx.connection.execute(again).rowcount:
        note(tx, dispatch_id, 0, "sent_again", "somebody asked for it")


def nudge(tx: Tx, dispatch_id: str) -> None:
    """Have an unfinished dispatch, or its callbacks under way, looked at now instead of later."""
    waiting = or_(col(Dispatch.id) == dispatch_id, col(Dispatch.parent_id) == dispatch_id)
    tx.connection.execute(update(Dispatch).where(waiting, col(Dispatch.finished_at).is_(None)).values(not_before=0.0))
    tx.emit(Topic.DISPATCHES)


def get(session: Session, dispatch_id: str) -> Dispatch | None:
    query = select(Dispatch).where(col(Dispatch.id) == dispatch_id)
    return session.exec(query.execution_options(populate_existing=True)).first()


def by_key(session: Session, home: str, key: str) -> Dispatch | None:
    """The dispatch that was accepted under an idempotency key."""
    query = select(Dispatch).where(col(Dispatch.home) == home, col(Dispatch.idempotency_key) == key)
    return session.exec(query).first()


def running_in(session: Session, home: str, thread_id: str) -> Dispatch | None:
    """The dispatch whose turn runs in a thread."""
    query = _unfinished(home).where(col(Dispatch.thread_id) == thread_id, col(Dispatch.status) != DispatchStatus.QUEUED)
    return session.exec(query).first()


def first_in_line(session: Session, home: str, thread_id: str) -> Dispatch | None:
    """The unfinished dispatch that a new one for this thread would have to wait for, or None."""
    query = _unfinished(home).where(col(Dispatch.thread_id) == thread_id)
    return session.exec(query.order_by(col(Dispatch.seq)).limit(1)).first()


def leased_threads(session: Session) -> set[str]:
    """Threads in which a worker is busy now; at most as many as turns may run."""
    query = select(col(Dispatch.thread_id)).where(
        col(Dispatch.finished_at).is_(None),
        col(Dispatch.status) != DispatchStatus.QUEUED,
        col(Dispatch.lease_expires_at) > time.time(),
    )
    return set(session.exec(query).all())


def page(
    session: Session,
    limit: int,
    before: int | None = None,
    *,
    status: DispatchStatus | None = None,
    project_id: str | None = None,
    thread_id: str | None = None,
) -> list[Dispatch]:
    """Dispatches, newest first; `before` is the `seq` of the last one seen."""
    query = select(Dispatch)
    if before is not None:
        query = query.where(col(Dispatch.seq) < before)
    wanted = {Dispatch.status: status, Dispatch.project_id: project_id, Dispatch.thread_id: thread_id}
    query = query.where(*(col(column) == value for column, value in wanted.items() if value is not None))
    return list(session.exec(query.order_by(col(Dispatch.seq).desc()).limit(limit)).all())


def actionable(session: Session, home: str, project_id: str | None) -> list[Dispatch]:
    """Dispatches with something left to do, for them or their callbacks; last changed first."""
    left = or_(
        col(Dispatch.finished_at).is_(None),
        col(Dispatch.callback_status).in_([CallbackStatus.PENDING, CallbackStatus.FAILED]),
    )
    query = _scope(select(Dispatch), home, project_id).where(left)
    return list(session.exec(query.order_by(col(Dispatch.updated_at).desc())).all())


def count(session: Session, home: str, project_id: str | None) -> int:
    """How many dispatches there are, of a project or of all."""
    counted: int = session.execute(_scope(select(func.count()).select_from(Dispatch), home, project_id)).scalar_one()
    return counted


def children(session: Session, dispatch_id: str) -> list[Dispatch]:
    """The callbacks that were begun for a dispatch, oldest first."""
    query = select(Dispatch).where(col(Dispatch.parent_id) == dispatch_id)
    return list(session.exec(query.order_by(col(Dispatch.seq))).all())


def prune(tx: Tx, keep: int) -> int:
    """Delete the oldest dispatches that are over and told, beyond the newest `keep`; how many were deleted.

    At most PRUNED_AT_ONCE, so that no writer waits long; call again while it returns as many.
    """
    newest = tx.session.exec(select(func.max(Dispatch.seq))).one() or 0
    over = (
        select(col(Dispatch.id))
        .where(
            col(Dispatch.seq) <= newest - keep,
            col(Dispatch.finished_at).is_not(None),
            col(Dispatch.callback_status) != CallbackStatus.PENDING,
        )
        .order_by(col(Dispatch.seq))
        .limit(PRUNED_AT_ONCE)
    )
    ids = list(tx.session.exec(over).all())
    for table in (TurnItem, DispatchEvent, Approval):
        tx.connection.execute(delete(table).where(col(table.dispatch_id).in_(ids)))
    tx.connection.execute(delete(Dispatch).where(col(Dispatch.id).in_(ids)))
    chains = [Pause.of_chain(each) for each in ids]
    tx.connection.execute(delete(Pause).where(col(Pause.key).in_(chains), col(Pause.resumed_at).is_not(None)))
    return len(ids)


def history(session: Session, dispatch_id: str) -> list[DispatchEvent]:
    query = select(DispatchEvent).where(col(DispatchEvent.dispatch_id) == dispatch_id)
    return list(session.exec(query.order_by(col(DispatchEvent.id))).all())


def _unfinished(home: str) -> SelectOfScalar[Dispatch]:
    return select(Dispatch).where(col(Dispatch.home) == home, col(Dispatch.finished_at).is_(None))


def _scope(query: Any, home: str, project_id: str | None) -> Any:
    query = query.where(col(Dispatch.home) == home)
    return query if project_id is None else query.where(col(Dispatch.project_id) == project_id)


def note(tx: Tx, dispatch_id: str, attempt: int, kind: str, detail: str) -> None:
    event = {"dispatch_id": dispatch_id, "attempt": attempt, "kind": kind, "detail": detail}
    _NOTE.run(tx.connection, ts=time.time(), **event)
    tx.emit(Topic.dispatch(dispatch_id), Topic.DISPATCHES)
