"""Messages and channels: append, and read by cursor."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, bindparam, case, text
from sqlmodel import Session, col, func, select

from app.models import Channel, Message, MessageRow, Reader, Topic
from app.storage.database import Tx
from app.storage.statement import Statement, execute

MAX_ID = 2**63 - 1
MOST_CHARS = 4 * 1024 * 1024
"""So much text one read brings: a page of messages, or a handful of very long ones. Whoever wants more reads on."""
MOST_ROWS = 64
"""Rows in one statement."""

_COLUMNS = [col(getattr(MessageRow, name)) for name in Message._fields]

_COUNT = Statement(
    lambda insert: (
        insert(Channel)
        .values(name=bindparam("name"), created_at=bindparam("now"), message_count=bindparam("count"))
        .on_conflict_do_update(
            index_elements=[col(Channel.name)], set_={"message_count": col(Channel.message_count) + bindparam("count")}
        )
        .returning(col(Channel.message_count))
    )
)
_INSERT = Statement(
    lambda insert: (
        insert(MessageRow)
        .values({name: bindparam(name) for name in (*Message._fields[1:], "idempotency_key")})
        .on_conflict_do_nothing()
        .returning(col(MessageRow.id))
    )
)
# Readers of all channels wait for the appends that are on their way: see `after`.
_APPENDS = 8011
_APPENDING = text(f"SELECT pg_advisory_xact_lock_shared({_APPENDS})")
NO_APPENDS = text(f"SELECT pg_advisory_xact_lock({_APPENDS})")


class AlreadyPosted(Exception):
    """The sender has used the idempotency key before, for `message`. Nothing was written."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.id)
        self.message = message


class Post(NamedTuple):
    """A message to be stored."""

    target: str
    sender: str
    text: str
    source: str
    reply_to: int | None = None
    dispatch_id: str | None = None
    badge: str | None = None
    idempotency_key: str | None = None


def append_each(tx: Tx, posts: Sequence[Post]) -> list[Message]:
    """Store messages; their channels are made on the way if they are new.

    The channels' rows are locked before the ids are drawn, so that ids of one channel become visible in order: a reader
    that asks for "after the last one I saw" misses none.

    Raises:
        AlreadyPosted: a message with the sender and the idempotency key of one of them exists.
    """
    now = time.time()
    if tx.dialect == "postgresql":
        tx.connection.execute(_APPENDING)
    for target, count in sorted(Counter(post.target for post in posts).items()):
        (total,) = _COUNT.run(tx.connection, name=target, now=now, count=count).fetchone()
        tx.emit(Topic.channel(target), Topic.MESSAGES)
        if total == count:
            tx.emit(Topic.CHANNELS)
    if len(posts) > 1 and tx.dialect == "sqlite" and not any(post.idempotency_key for post in posts):
        ids = _insert_together(tx, now, posts)
    else:
        ids = [_insert(tx, now, post) for post in posts]
    return [Message(number, now, *post[:-1]) for number, post in zip(ids, posts, strict=True)]


def append(tx: Tx, **post: Any) -> Message:
    """Store one message, given by the fields of `Post`; see `append_each`."""
    return append_each(tx, [Post(**post)])[0]


def ensure_channels(tx: Tx, names: Iterable[str]) -> None:
    """Make the channels that do not exist yet."""
    now = time.time()
    rows = [{"name": name, "created_at": now, "message_count": 0} for name in names]
    if rows:
        tx.connection.execute(tx.insert(Channel).on_conflict_do_nothing(), rows)
        tx.emit(Topic.CHANNELS)


def newest(
    session: Session, target: str | None, limit: int, before_id: int | None = None, sender: str | None = None
) -> list[Message]:
    """The last `limit` messages of a channel, or the last before an id, oldest first. No target: of all channels."""
    query = select(*_COLUMNS).order_by(col(MessageRow.id).desc()).limit(limit)
    if before_id is not None:
        query = query.where(col(MessageRow.id) < in_range(before_id))
    return _messages(session, query, target, sender)[::-1]


def after(
    session: Session,
    target: str | None,
    since_id: int,
    limit: int,
    sender: str | None = None,
    not_sender: str | None = None,
) -> list[Message]:
    """The first `limit` messages of a channel after an id, oldest first: a reader pages on without gaps.

    No target: of all channels. Their ids become visible in order only if no append is under way, so on PostgreSQL this
    waits for those that are.
    """
    if target is None and session.get_bind().dialect.name == "postgresql":
        session.execute(NO_APPENDS)
    query = select(*_COLUMNS).where(col(MessageRow.id) > in_range(since_id)).order_by(col(MessageRow.id)).limit(limit)
    if not_sender is not None:
        query = query.where(col(MessageRow.sender) != not_sender)
    return _messages(session, query, target, sender)


def get(session: Session, message_id: int) -> Message | None:
    """One message, or None."""
    found = _messages(session, select(*_COLUMNS).where(col(MessageRow.id) == in_range(message_id)))
    return found[0] if found else None


def of_dispatch(session: Session, dispatch_id: str) -> list[Message]:
    """The messages that tell of a dispatch, oldest first."""
    query = select(*_COLUMNS).where(col(MessageRow.dispatch_id) == dispatch_id).order_by(col(MessageRow.id))
    return _messages(session, query)


def channels(session: Session) -> list[Channel]:
    """All channels by name."""
    return sorted(session.exec(select(Channel)).all(), key=lambda channel: channel.name)


def senders(session: Session, target: str, recent: int = 200) -> list[str]:
    """Who wrote among a channel's last `recent` messages."""
    window = (
        select(col(MessageRow.sender))
        .where(col(MessageRow.target) == target)
        .order_by(col(MessageRow.id).desc())
        .limit(recent)
        .subquery()
    )
    return sorted(set(session.execute(select(window.c.sender)).scalars()))


def acked(session: Session, target: str, reader: str) -> int:
    """The id up to which a reader has settled a channel; 0 for a reader that is new there."""
    found = session.get(Reader, (target, reader))
    return found.acked_id if found else 0


def ack(tx: Tx, target: str, reader: str, up_to_id: int) -> int | None:
    """Settle a channel for a reader, never backwards and never past its newest message.

    Returns the id up to which it is settled now, or None where there is no such channel.
    """
    newest_id = tx.session.exec(select(func.max(MessageRow.id)).where(col(MessageRow.target) == target)).one()
    if newest_id is None:
        return 0 if tx.session.get(Channel, target) else None
    insert = tx.insert(Reader).values(
        target=target, name=reader, acked_id=max(0, min(up_to_id, newest_id)), updated_at=time.time()
    )
    further = insert.excluded.acked_id > col(Reader.acked_id)
    upsert = insert.on_conflict_do_update(
        index_elements=[col(Reader.target), col(Reader.name)],
        set_={
            "acked_id": case((further, insert.excluded.acked_id), else_=col(Reader.acked_id)),
            "updated_at": insert.excluded.updated_at,
        },
    ).returning(col(Reader.acked_id))
    settled: int = tx.connection.execute(upsert).scalar_one()
    return settled


def _messages(session: Session, query: Any, target: str | None = None, sender: str | None = None) -> list[Message]:
    if target is not None:
        query = query.where(col(MessageRow.target) == target)
    if sender is not None:
        query = query.where(col(MessageRow.sender) == sender)
    return bounded(session.connection().execute(query))


def bounded(rows: CursorResult[Any]) -> list[Message]:
    """The messages of a result, up to the one with which MOST_CHARS are passed."""
    found: list[Message] = []
    room = MOST_CHARS
    with rows:
        for row in rows:
            found.append(Message._make(row))
            room -= len(found[-1].text)
            if room < 0:
                break
    return found


def is_full(found: Sequence[Message], limit: int) -> bool:
    """Whether a read that brought these may have left some: it was for `limit`, or there was too much text."""
    return len(found) >= limit or sum(len(message.text) for message in found) > MOST_CHARS


def _insert(tx: Tx, now: float, post: Post) -> int:
    row = _INSERT.run(tx.connection, ts=now, **post._asdict()).fetchone()
    if row is None:
        raise AlreadyPosted(_keyed(tx.session, post.sender, post.idempotency_key))
    return int(row[0])


def _insert_together(tx: Tx, now: float, posts: Sequence[Post]) -> list[int]:
    """One statement for many rows; SQLite numbers them one after the other."""
    ids: list[int] = []
    while len(ids) < len(posts):
        # In powers of two, so that few statements are ever prepared.
        rows = posts[len(ids) :][: 1 << (min(len(posts) - len(ids), MOST_ROWS).bit_length() - 1)]
        values = [value for post in rows for value in (now, *post)]
        last = execute(tx.connection, _insert_sql(len(rows)), values).lastrowid
        ids += range(last - len(rows) + 1, last + 1)
    return ids


@lru_cache
def _insert_sql(rows: int) -> str:
    names = ("ts", *Post._fields)
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO message ({', '.join(names)}) VALUES {', '.join([row] * rows)}"  # noqa: S608


def _keyed(session: Session, sender: str, key: str | None) -> Message:
    query = select(*_COLUMNS).where(col(MessageRow.sender) == sender, col(MessageRow.idempotency_key) == key)
    (found,) = _messages(session, query)
    return found


def in_range(message_id: int) -> int:
    """Any integer is a fine cursor; the databases take 64 bits."""
    return max(-MAX_ID, min(message_id, MAX_ID))
