"""Who works on what next: what there is to do, the claim, and taking over what somebody left behind.

The engine asks these all the time, so they are made into SQL once and their cost does not grow with what waits.
"""

import time
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Update,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlmodel import Session

from app.models import Dispatch, Lease
from app.storage.database import Tx
from app.storage.dispatches import get, note
from app.storage.statement import Statement

_dispatch = Dispatch.__table__  # type: ignore[attr-defined]
_home: BindParameter[Any] = bindparam("home")
_now: BindParameter[Any] = bindparam("now")
# As literals: a partial index serves only what is known to lie in it.
_QUEUED: ColumnElement[Any] = literal_column("'queued'")
_PENDING: ColumnElement[Any] = literal_column("'pending'")
_TIMED_OUT: ColumnElement[Any] = literal_column("'timed_out'")
_NEVER: ColumnElement[Any] = literal_column("0")


class Outlook(NamedTuple):
    """What there is to do now, and when the next thing that was put off is to be looked at."""

    is_waiting: bool
    """A dispatch is at the head of its thread's line."""
    is_left_behind: bool
    """The holder of a dispatch has not renewed its lease in time."""
    is_untold: bool
    """Somebody is to be told of a dispatch."""
    next_at: float | None


def outlook(session: Session, home: str) -> Outlook:
    """Ask before claiming: a claim is a write even where it finds nothing."""
    row = _OUTLOOK.run(session.connection(), home=home, now=time.time()).fetchone()
    times = [at for at in row[3:] if at is not None]
    return Outlook(bool(row[0]), bool(row[1]), bool(row[2]), min(times, default=None))


def claim(tx: Tx, home: str, owner: str, lease_sec: float) -> tuple[Dispatch, Lease] | None:
    """Take the oldest dispatch that is at the head of its thread's line, or None.

    Only a head can be taken, so turns of one thread never meet and keep their order. One statement serves both
    databases: SQLite has one writer anyway, PostgreSQL skips rows that another hub is just taking.
    """
    return _taken(tx, _CLAIM, "claimed", home, owner, lease_sec)


def take_over(tx: Tx, home: str, owner: str, lease_sec: float) -> tuple[Dispatch, Lease] | None:
    """Take one dispatch whose holder has not renewed its lease in time, or None."""
    return _taken(tx, _TAKE_OVER, "taken_over", home, owner, lease_sec)


def _taken(
    tx: Tx, statement: Statement, kind: str, home: str, owner: str, lease_sec: float
) -> tuple[Dispatch, Lease] | None:
    now = time.time()
    row = statement.run(tx.connection, home=home, now=now, owner=owner, until=now + lease_sec).fetchone()
    if row is None:
        return None
    dispatch = get(tx.session, row[0])
    assert dispatch is not None
    note(tx, dispatch.id, dispatch.attempt, kind, owner)
    return dispatch, Lease(dispatch.id, owner, dispatch.attempt)


def _unfinished(table: Any) -> Any:
    return (table.c.home == _home) & table.c.finished_at.is_(None)


def _heads() -> Select[Any]:
    """The first dispatch of each thread's line: from thread to thread along the index, past all that wait behind."""
    first, further, member = _dispatch.alias(), _dispatch.alias(), _dispatch.alias()
    line = select(func.min(first.c.thread_id).label("thread_id")).where(_unfinished(first)).cte("line", recursive=True)
    following = select(func.min(further.c.thread_id)).where(
        _unfinished(further), further.c.thread_id > line.c.thread_id
    )
    line = line.union_all(select(following.scalar_subquery()).where(line.c.thread_id.is_not(None)))
    head = select(func.min(member.c.seq)).where(_unfinished(member), member.c.thread_id == line.c.thread_id)
    return select(head.scalar_subquery()).where(line.c.thread_id.is_not(None))


def _waiting() -> Select[Any]:
    """Dispatches that may be sent now."""
    running = _dispatch.alias()
    # One that is sent again has its old place, perhaps before one that runs.
    is_occupied = exists().where(
        _unfinished(running), running.c.thread_id == _dispatch.c.thread_id, running.c.status != _QUEUED
    )
    return select(_dispatch.c.seq).where(
        _dispatch.c.seq.in_(_heads()),
        _unfinished(_dispatch),
        _dispatch.c.status == _QUEUED,
        _dispatch.c.not_before <= _now,
        ~is_occupied,
    )


def _left_behind() -> Select[Any]:
    return select(_dispatch.c.seq).where(
        _unfinished(_dispatch),
        _dispatch.c.status != _QUEUED,
        _dispatch.c.not_before <= _now,
        func.coalesce(_dispatch.c.lease_expires_at, 0) < _now,
    )


def _untold(table: Any) -> Any:
    is_over = table.c.finished_at.is_not(None) | (table.c.status == _TIMED_OUT)
    return (table.c.home == _home) & (table.c.callback_status == _PENDING) & is_over


def _look() -> Select[Any]:
    told = _dispatch.alias()
    put_off = select(func.min(told.c.not_before)).where(
        _unfinished(told), told.c.not_before > _NEVER, told.c.not_before > _now
    )
    to_tell = select(func.min(told.c.callback_not_before)).where(_untold(told), told.c.callback_not_before > _now)
    return select(
        _waiting().exists(),
        _left_behind().exists(),
        exists().where(_untold(told), told.c.callback_not_before <= _now),
        put_off.scalar_subquery(),
        to_tell.scalar_subquery(),
    )


def _take(chosen: Select[Any], **values: Any) -> Update:
    one = chosen.order_by(_dispatch.c.seq).limit(literal_column("1")).with_for_update(skip_locked=True, of=_dispatch)
    return (
        update(_dispatch)
        .where(_dispatch.c.seq == one.scalar_subquery())
        .values(
            owner=bindparam("owner"),
            attempt=_dispatch.c.attempt + literal_column("1"),
            lease_expires_at=bindparam("until"),
            started_at=func.coalesce(_dispatch.c.started_at, _now),
            updated_at=_now,
            **values,
        )
        .returning(_dispatch.c.id)
    )


_CLAIM = Statement(lambda _: _take(_waiting(), status=literal_column("'running'")))
_TAKE_OVER = Statement(lambda _: _take(_left_behind()))
_OUTLOOK = Statement(lambda _: _look())
