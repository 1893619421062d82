"""Messages and channels: append, and read by cursor."""

import time
from collections.abc import Iterable

from sqlalchemy import Executable, insert
from sqlmodel import Session, col, select

from app.models import Channel, Message, Topic
from app.storage.database import Tx

MAX_ID = 2**63 - 1


def append(
    tx: Tx,
    *,
    target: str,
    sender: str,
    text: str,
    source: str,
    reply_to: int | None = None,
    dispatch_id: str | None = None,
) -> Message:
    """Store one message; its channel is made on the way if it is new.

    The channel's row is locked before the id is drawn, so that ids of one channel become visible in order: a reader
    that asks for "after the last one I saw" misses none.
    """
    now = time.time()
    counted = {"name": target, "created_at": now, "message_count": 1}
    count = tx.connection.execute(_count(tx), counted).scalar_one()
    message = Message(
        ts=now,
        target=target,
        sender=sender,
        text=text,
        source=source,
        reply_to=reply_to,
        dispatch_id=dispatch_id,
    )
    row = message.model_dump(exclude={"id"})
    message.id = tx.connection.execute(insert(Message).returning(col(Message.id)), row).scalar_one()
    tx.emit(Topic.channel(target))
    if count == 1:
        tx.emit(Topic.CHANNELS)
    return message


def ensure_channels(tx: Tx, names: Iterable[str]) -> None:
    """Make the channels that do not exist yet."""
    now = time.time()
    rows = [{"name": name, "created_at": now, "message_count": 0} for name in names]
    if rows:
        tx.connection.execute(tx.insert(Channel).on_conflict_do_nothing(), rows)
        tx.emit(Topic.CHANNELS)


def newest(session: Session, target: str, limit: int, before_id: int | None = None) -> list[Message]:
    """The last `limit` messages of a channel, or the last before an id, oldest first."""
    query = select(Message).where(col(Message.target) == target)
    if before_id is not None:
        query = query.where(col(Message.id) < _in_range(before_id))
    rows = session.exec(query.order_by(col(Message.id).desc()).limit(limit)).all()
    return list(reversed(rows))


def after(session: Session, target: str, since_id: int, limit: int) -> list[Message]:
    """The first `limit` messages of a channel after an id, oldest first: a reader pages on without gaps."""
    query = select(Message).where(col(Message.target) == target, col(Message.id) > _in_range(since_id))
    return list(session.exec(query.order_by(col(Message.id)).limit(limit)).all())


def get(session: Session, message_id: int) -> Message | None:
    return session.get(Message, _in_range(message_id))


def channels(session: Session) -> list[Channel]:
    """All channels by name."""
    return sorted(session.exec(select(Channel)).all(), key=lambda channel: channel.name)


def senders(session: Session, target: str, recent: int = 200) -> list[str]:
    """Who wrote among a channel's last `recent` messages."""
    window = (
        select(col(Message.sender))
        .where(col(Message.target) == target)
        .order_by(col(Message.id).desc())
        .limit(recent)
        .subquery()
    )
    return sorted(set(session.execute(select(window.c.sender)).scalars()))


def _in_range(message_id: int) -> int:
    """Any integer is a fine cursor; the databases take 64 bits."""
    return max(-MAX_ID, min(message_id, MAX_ID))


def _count(tx: Tx) -> Executable:
    insert_channel = tx.insert(Channel)
    return insert_channel.on_conflict_do_update(
        index_elements=[col(Channel.name)],
        set_={"message_count": col(Channel.message_count) + 1},
    ).returning(col(Channel.message_count))
