"""Channels and what is posted to them."""

import time
from typing import NamedTuple

from sqlalchemy import Column, Index, String, Text
from sqlmodel import Field, SQLModel

from app.models.columns import BIG, partial_index


class Channel(SQLModel, table=True):
    """A named stream of messages. Its row is the lock under which message ids become visible in order."""

    name: str = Field(primary_key=True)
    created_at: float = Field(default_factory=time.time)
    message_count: int = 0


class Message(NamedTuple):
    """One message. It never changes, so it is a value; rows of MessageRow are read and written as these."""

    id: int
    ts: float
    target: str
    sender: str
    text: str
    source: str
    reply_to: int | None = None
    dispatch_id: str | None = None
    badge: str | None = None
    """How the sender was known: `human` by a login in the browser, `agent` by a token; None: it is a mere name."""


class MessageRow(SQLModel, table=True):
    """The table of messages. Ids are one sequence over all channels and are never reused."""

    __tablename__ = "message"
    __table_args__ = (
        Index("ix_message_target_id", "target", "id"),
        Index("ix_message_target_sender_id", "target", "sender", "id"),
        partial_index(
            "uq_message_idempotency", "sender", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True
        ),
        partial_index("ix_message_dispatch", "dispatch_id", "id", where="dispatch_id IS NOT NULL"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, sa_column=Column(BIG, primary_key=True))
    ts: float
    target: str = Field(foreign_key="channel.name")
    sender: str
    text: str = Field(sa_column=Column(Text, nullable=False))
    source: str
    reply_to: int | None = Field(default=None, sa_column=Column(BIG))
    dispatch_id: str | None = None
    badge: str | None = Field(default=None, sa_column=Column(String(16)))
    idempotency_key: str | None = None


class Reader(SQLModel, table=True):
    """Where a named reader of a channel stands: everything up to `acked_id` is settled and is not handed out again."""

    target: str = Field(primary_key=True, foreign_key="channel.name")
    name: str = Field(primary_key=True)
    acked_id: int = Field(sa_column=Column(BIG, nullable=False))
    updated_at: float = Field(default_factory=time.time)
