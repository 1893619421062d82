"""What turns said and did: the newest version of each item."""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from app.models import TurnItem
from app.storage.database import Tx

NOTE_CHARS = 120
_KEY = ("dispatch_id", "item_id")


def record(tx: Tx, items: Sequence[TurnItem]) -> None:
    """Store items; one that is known gets its new title, text and status and keeps its place."""
    if not items:
        return
    insert = tx.insert(TurnItem)
    changed = {name: insert.excluded[name] for name in ("title", "text", "status", "updated_at")}
    upsert = insert.on_conflict_do_update(index_elements=list(_KEY), set_=changed)
    tx.connection.execute(upsert, [item.model_dump() for item in items])


def latest(session: Session, dispatch_id: str) -> str | None:
    """What the turn does now, in a few words: its newest item."""
    query = select(TurnItem).where(col(TurnItem.dispatch_id) == dispatch_id)
    item = session.exec(query.order_by(col(TurnItem.updated_at).desc()).limit(1)).first()
    if item is None:
        return None
    words = " ".join((item.title or item.text[-2 * NOTE_CHARS :]).split())
    return f"{item.kind}: {words[-NOTE_CHARS:]}" if words else item.kind


def of_dispatch(session: Session, dispatch_id: str) -> list[TurnItem]:
    """The items of a dispatch's turn, in order."""
    query = select(TurnItem).where(col(TurnItem.dispatch_id) == dispatch_id)
    return list(session.exec(query.order_by(col(TurnItem.position), col(TurnItem.item_id))).all())
