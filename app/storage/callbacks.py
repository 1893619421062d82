"""Callbacks: who is still to be told of a dispatch, and how the telling stands."""

import time
from typing import Any

from sqlalchemy import or_, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from app.models import CallbackStatus, Dispatch, DispatchStatus
from app.storage.database import Tx
from app.storage.dispatches import note


def set_status(tx: Tx, dispatch_id: str, status: CallbackStatus, **values: Any) -> None:
    """Write how the callback of a dispatch stands."""
    now = time.time()
    tx.connection.execute(
        update(Dispatch).where(col(Dispatch.id) == dispatch_id).values(callback_status=status, updated_at=now, **values)
    )
    note(tx, dispatch_id, 0, f"callback_{status.value}", values.get("callback_error_message") or "")


def withdraw(tx: Tx, dispatch_id: str) -> None:
    """Take back callbacks that still wait in a line: what they tell is out of date."""
    now = time.time()
    waiting = update(Dispatch).where(
        col(Dispatch.parent_id) == dispatch_id, col(Dispatch.status) == DispatchStatus.QUEUED
    )
    withdrawn = {"status": DispatchStatus.CANCELLED, "finished_at": now, "updated_at": now, "waiting_for": None}
    for (child,) in tx.connection.execute(waiting.values(withdrawn).returning(col(Dispatch.id))).all():
        note(tx, child, 0, DispatchStatus.CANCELLED, "its news is out of date")


def due(session: Session, home: str, limit: int = 100) -> list[Dispatch]:
    """Dispatches past their end or their time limit, whose callback is wanted and not under way."""
    return list(session.exec(_due(home).limit(limit)).all())


def hold(tx: Tx, dispatch_id: str) -> None:
    """Let no other hub change a dispatch until the transaction ends: what is read of it from here on stays true."""
    tx.session.exec(select(col(Dispatch.seq)).where(col(Dispatch.id) == dispatch_id).with_for_update()).first()


def lock_due(tx: Tx, parent: Dispatch) -> bool:
    """Whether a callback is still due, held so that no other hub begins it as well."""
    hold(tx, parent.id)
    return tx.session.exec(_due(parent.home).where(col(Dispatch.id) == parent.id)).first() is not None


def _due(home: str) -> SelectOfScalar[Dispatch]:
    child = aliased(Dispatch)
    under_way = select(col(child.seq)).where(col(child.parent_id) == col(Dispatch.id), col(child.finished_at).is_(None))
    return (
        select(Dispatch)
        .where(
            col(Dispatch.home) == home,
            col(Dispatch.callback_status) == CallbackStatus.PENDING,
            or_(col(Dispatch.finished_at).is_not(None), col(Dispatch.status) == DispatchStatus.TIMED_OUT),
            col(Dispatch.callback_not_before) <= time.time(),
            ~under_way.exists(),
        )
        .order_by(col(Dispatch.seq))
    )
