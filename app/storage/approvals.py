"""Approvals: what Codex asks, who answered it, and that an answer counts once."""

import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, func, literal_column, tuple_, update
from sqlmodel import Session, col, select

from app.models import Approval, ApprovalStatus, Dispatch, Topic
from app.storage.database import Tx
from app.storage.dispatches import get as dispatch_of
from app.storage.dispatches import note, running_in
from app.storage.statement import Statement

ASKED, ANSWERED = "approval_asked", "approval_answered"
"""Kinds of events in a dispatch's history."""
HUB = "relay-hub"
"""Who answered what ended by itself."""
WAITS = "a human has to answer what Codex asks"
"""What its dispatch says meanwhile."""


_ANY_PENDING = Statement(
    lambda _: (
        select(col(Approval.id))
        .where(
            col(Approval.dispatch_id) == bindparam("dispatch_id"), col(Approval.status) == literal_column("'pending'")
        )
        .limit(literal_column("1"))
    )
)


class Shown(NamedTuple):
    """An approval, and where its question came up."""

    approval: Approval
    project_id: str
    thread_name: str


class Outlook(NamedTuple):
    pending: int
    """How many questions wait, of all hubs on this database."""
    next_at: float | None
    """When the first of them expires."""
    settled: list[Approval]
    """Those among the ones asked for that wait no more."""


def ask(tx: Tx, asked: Approval) -> Approval | None:
    """Store a question; None where its dispatch does not run any more.

    The same question, asked again by the same turn, is the row that it was: answered perhaps, or over, but not used.
    """
    running = running_in(tx.session, asked.home, asked.thread_id)
    if running is None or running.id != asked.dispatch_id:
        return None
    if known := _known(tx.session, asked):
        return known
    tx.connection.execute(tx.insert(Approval).values(asked.model_dump()))
    note(tx, running.id, running.attempt, ASKED, f"{asked.kind.value} {asked.id}")
    if asked.status is ApprovalStatus.PENDING:
        _mark(tx, running.id)
    else:
        note(tx, running.id, running.attempt, ANSWERED, _words(asked))
    tx.emit(Topic.APPROVALS)
    return asked


def settle(tx: Tx, approval_id: str, digest: str, status: ApprovalStatus, by: str, answer: str | None) -> bool:
    """Write down an answer; False where nobody waits for it, or something else was asked."""
    now = time.time()
    wanted = select(col(Dispatch.id)).where(
        col(Dispatch.finished_at).is_(None), col(Dispatch.cancel_requested_at).is_(None)
    )
    conditions = (
        col(Approval.id) == approval_id,
        col(Approval.digest) == digest,
        col(Approval.expires_at) > now,
        col(Approval.dispatch_id).in_(wanted),
    )
    return bool(_end(tx, *conditions, status=status, answered_by=by, answered_at=now, answer=answer))


def withdraw(tx: Tx, dispatch_id: str, approval_id: str | None = None) -> list[Approval]:
    """End the questions of a dispatch that wait, or one of them: nobody needs an answer any more."""
    if _ANY_PENDING.run(tx.connection, dispatch_id=dispatch_id).fetchone() is None:
        return []  # as for nearly every dispatch that ends
    one = () if approval_id is None else (col(Approval.id) == approval_id,)
    return _end(tx, col(Approval.dispatch_id) == dispatch_id, *one, status=ApprovalStatus.WITHDRAWN)


def expire(tx: Tx) -> list[Approval]:
    """End all questions that nobody answered in time."""
    return _end(tx, col(Approval.expires_at) <= time.time(), status=ApprovalStatus.EXPIRED)


def use(tx: Tx, approval_id: str, kept: str | None) -> bool:
    """Take an answer to tell it to Codex; False where it was taken before. `kept` is what stays of it in the row."""
    taken = (
        update(Approval)
        .where(
            col(Approval.id) == approval_id,
            col(Approval.used_at).is_(None),
            col(Approval.status).in_([ApprovalStatus.APPROVED, ApprovalStatus.DENIED]),
        )
        .values(used_at=time.time(), answer=kept)
    )
    tx.emit(Topic.APPROVALS)
    return tx.connection.execute(taken).rowcount == 1


def get(session: Session, approval_id: str) -> Shown | None:
    found = session.exec(_shown().where(col(Approval.id) == approval_id)).first()
    return Shown(*found) if found else None


def outlook(session: Session, asked: Collection[str]) -> Outlook:
    """What waits, and which of these ids do not."""
    pending, next_at = session.exec(select(func.count(), func.min(Approval.expires_at)).where(_is_pending())).one()
    settled = select(Approval).where(col(Approval.id).in_(asked), col(Approval.status) != ApprovalStatus.PENDING)
    return Outlook(pending, next_at, list(session.exec(settled).all()) if asked else [])


def pending(session: Session, dispatch_id: str | None = None) -> list[Shown]:
    """Questions that wait, oldest first; of one dispatch or of all."""
    query = _shown().where(_is_pending())
    if dispatch_id is not None:
        query = query.where(col(Approval.dispatch_id) == dispatch_id)
    return [Shown(*row) for row in session.exec(query.order_by(col(Approval.created_at), col(Approval.id))).all()]


def page(
    session: Session,
    limit: int,
    before: str | None = None,
    *,
    status: Sequence[ApprovalStatus] = (),
    dispatch_id: str | None = None,
) -> list[Shown]:
    """Approvals, newest first; `before` is the id of the last one seen."""
    query = _shown()
    if before is not None:
        last = select(col(Approval.created_at), col(Approval.id)).where(col(Approval.id) == before)
        query = query.where(
            tuple_(col(Approval.created_at), col(Approval.id)) < last.subquery().select().scalar_subquery()
        )
    if status:
        query = query.where(col(Approval.status).in_(status))
    if dispatch_id is not None:
        query = query.where(col(Approval.dispatch_id) == dispatch_id)
    newest = query.order_by(col(Approval.created_at).desc(), col(Approval.id).desc()).limit(limit)
    return [Shown(*row) for row in session.exec(newest).all()]


def _shown() -> Any:
    return select(Approval, Dispatch.project_id, Dispatch.thread_name).join(
        Dispatch, col(Dispatch.id) == col(Approval.dispatch_id)
    )


def _is_pending() -> ColumnElement[bool]:
    return col(Approval.status) == ApprovalStatus.PENDING


def _known(session: Session, asked: Approval) -> Approval | None:
    """The row of the same question, unless its answer was used: then Codex asks anew."""
    same = ("dispatch_id", "turn_id", "item_id", "request_id", "kind", "digest")
    query = select(Approval).where(*(getattr(Approval, name) == getattr(asked, name) for name in same))
    return session.exec(query.where(col(Approval.used_at).is_(None))).first()


def _end(tx: Tx, *conditions: Any, status: ApprovalStatus, **values: Any) -> list[Approval]:
    values = {"answered_by": HUB, "answered_at": time.time(), **values}
    ended = update(Approval).where(_is_pending(), *conditions).values(status=status, **values)
    ids = list(tx.connection.execute(ended.returning(col(Approval.id))).scalars())
    if not ids:
        return []
    rows = list(tx.session.exec(select(Approval).where(col(Approval.id).in_(ids))).all())
    for row in rows:
        dispatch = dispatch_of(tx.session, row.dispatch_id)
        note(tx, row.dispatch_id, dispatch.attempt if dispatch else 0, ANSWERED, _words(row))
        _mark(tx, row.dispatch_id)
    tx.emit(Topic.APPROVALS)
    return rows


def _mark(tx: Tx, dispatch_id: str) -> None:
    """Have the dispatch say whether it waits for an answer."""
    waiting = select(func.count()).where(_is_pending(), col(Approval.dispatch_id) == dispatch_id)
    change = update(Dispatch).where(col(Dispatch.id) == dispatch_id, col(Dispatch.finished_at).is_(None))
    if tx.session.exec(waiting).one():
        change = change.values(waiting_for=WAITS)
    else:
        change = change.where(col(Dispatch.waiting_for) == WAITS).values(waiting_for=None)
    tx.connection.execute(change.values(updated_at=time.time()))


def _words(approval: Approval) -> str:
    return f"{approval.kind.value} {approval.id}: {approval.status.value} by {approval.answered_by}"
