"""What the loop guard has paused, and what it counts."""

import time

from sqlalchemy import or_, text, update
from sqlmodel import Session, col, select

from app.errors import ErrorCode
from app.models import CallbackStatus, Dispatch, Pause, Topic
from app.storage import dispatches
from app.storage.database import Tx

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(8013, hashtext(:key))")
"""Of two hubs that accept for one budget at once, the second one counts what the first one accepted."""
MOST_SHOWN = 100


def lock(tx: Tx, key: str) -> None:
    """Hold a budget until the transaction ends. SQLite has one writer anyway."""
    if tx.dialect == "postgresql":
        tx.connection.execute(_ONE_AT_A_TIME, {"key": key})


def get(session: Session, key: str) -> Pause | None:
    """The newest pause of a key, also when it is over."""
    return session.exec(select(Pause).where(col(Pause.key) == key).execution_options(populate_existing=True)).first()


def unresumed(session: Session) -> list[Pause]:
    """What is paused now, newest first."""
    query = select(Pause).where(col(Pause.resumed_at).is_(None)).order_by(col(Pause.paused_at).desc())
    return list(session.exec(query.limit(MOST_SHOWN)).all())


def among(session: Session, keys: list[str]) -> list[Pause]:
    """Those of these keys that are paused now."""
    return list(session.exec(select(Pause).where(col(Pause.key).in_(keys), col(Pause.resumed_at).is_(None))).all())


def of_dispatch(session: Session, dispatch: Dispatch) -> list[Pause]:
    """What is paused of that which a dispatch belongs to: its chain, its home."""
    return among(session, [Pause.of_chain(dispatch.chain_id or dispatch.id), Pause.of_home(dispatch.home)])


def is_spent(session: Session, since: float, most: int, *, home: str, chain_id: str | None) -> bool:
    """Whether a chain, or a home where there is none, was asked for `most` dispatches since then.

    Callbacks are not counted: nobody asks for them. Looks at no more than it needs to know.
    """
    scope = col(Dispatch.home) == home if chain_id is None else col(Dispatch.chain_id) == chain_id
    asked = select(col(Dispatch.seq)).where(scope, col(Dispatch.accepted_at) > since, col(Dispatch.parent_id).is_(None))
    return session.exec(asked.order_by(col(Dispatch.accepted_at)).offset(most - 1).limit(1)).first() is not None


def pause(tx: Tx, key: str, reason: str) -> None:
    """Stop what a key stands for."""
    values = {"reason": reason, "paused_at": time.time(), "resumed_at": None, "resumed_by": None}
    stopped = tx.insert(Pause).values(key=key, **values)
    tx.connection.execute(stopped.on_conflict_do_update(index_elements=[col(Pause.key)], set_=values))
    tx.emit(Topic.DISPATCHES)


def resume(tx: Tx, key: str, by: str) -> bool:
    """Let it go on, budgets count from now; False where it was not paused."""
    paused = update(Pause).where(col(Pause.key) == key, col(Pause.resumed_at).is_(None))
    tx.emit(Topic.DISPATCHES)
    return tx.connection.execute(paused.values(resumed_at=time.time(), resumed_by=by)).rowcount == 1


def note_for(tx: Tx, chain_id: str, kind: str, detail: str) -> None:
    """Write into the history of a chain's first dispatch, as long as that is kept."""
    if dispatches.get(tx.session, chain_id) is not None:
        dispatches.note(tx, chain_id, 0, kind, detail)


def channel_of(session: Session, chain_id: str) -> str | None:
    """The channel that a chain tells: that of its first dispatch that names one."""
    named = select(col(Dispatch.callback_channel)).where(col(Dispatch.callback_channel).is_not(None))
    later = named.where(col(Dispatch.chain_id) == chain_id).order_by(col(Dispatch.accepted_at)).limit(1)
    return session.exec(named.where(col(Dispatch.id) == chain_id)).first() or session.exec(later).first()


def tell_now(tx: Tx, chain_id: str) -> None:
    """Make the callbacks of a chain due that waited for this."""
    member = or_(col(Dispatch.id) == chain_id, col(Dispatch.chain_id) == chain_id)
    waiting = update(Dispatch).where(
        member,
        col(Dispatch.callback_status) == CallbackStatus.PENDING,
        col(Dispatch.callback_error_code) == ErrorCode.LOOP_GUARD.value,
    )
    due = waiting.values(
        callback_not_before=0.0, callback_error_code=None, callback_error_message=None, updated_at=time.time()
    )
    for (dispatch_id,) in tx.connection.execute(due.returning(col(Dispatch.id))).all():
        tx.emit(Topic.dispatch(dispatch_id))
