"""What an older relay kept. It brings its times, and its ids where those can be kept."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, text
from sqlmodel import col, select

from app.models import Channel, Dispatch, DispatchEvent, Message, MessageRow, Thread, Topic
from app.storage.database import Tx
from app.storage.messages import NO_APPENDS

_BROUGHT = ("id", "ts", "target", "sender", "text", "source")
_SENDER = _BROUGHT.index("sender")
_COLUMNS = [col(getattr(MessageRow, name)) for name in _BROUGHT]

ROWS_AT_ONCE = 50
"""SQLite finds a named parameter by going through all of them."""
_GO_ON_ABOVE = text(
    "SELECT setval(name, greatest(:newest, nextval(name))) FROM pg_get_serial_sequence('message', 'id') AS name"
)


def take(tx: Tx, brought: Sequence[Message]) -> list[int | None]:
    """Store messages in this order; the id of each, None for one that is here already.

    Ids only grow. A message keeps its own if that is greater than every id here; if not, it gets the next one. It is
    here already if the message of its id says the same, or if an earlier call stored it under another id.
    """
    if tx.dialect == "postgresql":
        # Hubs may be posting: no id may be drawn while we choose ours.
        tx.connection.execute(NO_APPENDS)
    keys = [_key(message) for message in brought]
    known = _known(tx, brought, keys)
    newest = tx.connection.execute(select(func.max(MessageRow.id))).scalar_one() or 0
    ids: list[int | None] = []
    rows: list[dict[str, Any]] = []
    for message, key in zip(brought, keys, strict=True):
        if key in known:
            ids.append(None)
            continue
        known.add(key)
        is_kept = message.id > newest
        newest = message.id if is_kept else newest + 1
        ids.append(newest)
        values = dict(zip(_BROUGHT, message, strict=False))
        rows.append({**values, "id": newest, "idempotency_key": None if is_kept else key})
    if rows:
        _count(tx, rows)
        # Only with RETURNING do many rows become one statement.
        insert = tx.insert(MessageRow).returning(col(MessageRow.id))
        tx.connection.execute(insert, rows, execution_options={"insertmanyvalues_page_size": ROWS_AT_ONCE}).all()
        if tx.dialect == "postgresql":
            tx.connection.execute(_GO_ON_ABOVE, {"newest": newest})
        tx.emit(Topic.MESSAGES, Topic.CHANNELS)
    return ids


def _known(tx: Tx, brought: Sequence[Message], keys: Sequence[str]) -> set[str]:
    """The keys of those that are here already."""
    sought = {message[: len(_BROUGHT)]: key for message, key in zip(brought, keys, strict=True)}
    same_id = select(*_COLUMNS).where(col(MessageRow.id).in_([message.id for message in brought]))
    # A few rows at a time: nobody knows how large the messages are that have these ids.
    rows = tx.connection.execute(same_id, execution_options={"yield_per": 10})
    known = {sought.pop(found) for row in rows if (found := tuple(row)) in sought}
    by_sender: dict[Any, list[str]] = {}
    for found, key in sought.items():
        by_sender.setdefault(found[_SENDER], []).append(key)
    # The index is by sender and key; for a list of pairs SQLite would read all of it.
    for sender, rest in by_sender.items():
        mine = (col(MessageRow.sender) == sender, col(MessageRow.idempotency_key).in_(rest))
        rows = tx.connection.execute(select(col(MessageRow.idempotency_key)).where(*mine))
        known.update(key for (key,) in rows)
    return known


def _key(message: Message) -> str:
    """What a message is recognised by that has another id here: all that it brought."""
    brought = "\0".join(map(str, message[: len(_BROUGHT)])).encode()
    return f"import:{hashlib.blake2b(brought, digest_size=16).hexdigest()}"


def _count(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    """Make the channels of these messages, each as old as its first one, and count what they get."""
    channels: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["target"]
        channel = channels.setdefault(name, {"name": name, "created_at": row["ts"], "message_count": 0})
        channel["message_count"] += 1
    insert = tx.insert(Channel)
    upsert = insert.on_conflict_do_update(
        index_elements=[col(Channel.name)],
        set_={"message_count": col(Channel.message_count) + insert.excluded.message_count},
    )
    tx.connection.execute(upsert, list(channels.values()))


def take_state(tx: Tx, dispatches: Sequence[Dispatch], threads: Sequence[Thread]) -> tuple[set[str], int]:
    """Store finished dispatches and remembered threads that are not here yet.

    A thread that is here keeps what is newer. Returns the ids of the dispatches that are new, and the number of
    threads that are new or were out of date.
    """
    add = tx.insert(Dispatch).on_conflict_do_nothing(index_elements=[col(Dispatch.id)]).returning(col(Dispatch.id))
    taken: set[str] = set()
    for dispatch in dispatches:  # one by one: their numbers are to follow their order
        if tx.connection.execute(add, dispatch.model_dump(exclude={"seq"})).scalar():
            taken.add(dispatch.id)
            tx.session.add(DispatchEvent(dispatch_id=dispatch.id, kind="imported"))
    remember = tx.insert(Thread)
    newer = ("name", "last_used_at", "last_turn_id")
    remember = remember.on_conflict_do_update(
        index_elements=[col(Thread.home), col(Thread.thread_id)],
        set_={name: remember.excluded[name] for name in newer},
        where=remember.excluded.last_used_at > col(Thread.last_used_at),
    )
    changed = [
        tx.connection.execute(remember.returning(col(Thread.thread_id)), thread.model_dump()).scalar()
        for thread in threads
    ]
    tx.emit(Topic.DISPATCHES)
    return taken, len(changed) - changed.count(None)
