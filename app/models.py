"""The vocabulary: tables, states and the values that travel between modules.

Times are unix seconds as floats: one form for both databases, for JSON and for arithmetic.
"""

import time
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import BigInteger, CheckConstraint, Column, Enum, Index, Integer, String, Text, text
from sqlmodel import Field, SQLModel


class DispatchStatus(StrEnum):
    QUEUED = "queued"  # accepted, waits for its thread and for a worker
    RUNNING = "running"  # a worker holds its lease
    SUCCEEDED = "succeeded"  # its turn ended with a reply
    FAILED = "failed"  # it ended without one; error_code says why
    TIMED_OUT = "timed_out"  # its time limit passed; the turn may still end it otherwise
    CANCELLED = "cancelled"  # a human or its sender stopped it


class CallbackStatus(StrEnum):
    NOT_REQUESTED = "not_requested"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


TRANSITIONS: dict[DispatchStatus, frozenset[DispatchStatus]] = {
    DispatchStatus.QUEUED: frozenset({DispatchStatus.RUNNING, DispatchStatus.CANCELLED}),
    DispatchStatus.RUNNING: frozenset(
        {
            DispatchStatus.QUEUED,  # released: nothing was sent, somebody may try again
            DispatchStatus.SUCCEEDED,
            DispatchStatus.FAILED,
            DispatchStatus.TIMED_OUT,
            DispatchStatus.CANCELLED,
        }
    ),
    DispatchStatus.TIMED_OUT: frozenset({DispatchStatus.SUCCEEDED, DispatchStatus.FAILED}),
    DispatchStatus.SUCCEEDED: frozenset(),
    DispatchStatus.FAILED: frozenset(),
    DispatchStatus.CANCELLED: frozenset(),
}
"""Every change of a dispatch's status that may happen. docs/lifecycle.md draws it."""


class Origin(StrEnum):
    """How a dispatch came to be; decides who is told of a time limit."""

    WAIT = "wait"  # a caller waits: the limit is the caller's, the dispatch goes on
    ASYNC = "async"  # accepted and left alone: the limit is the dispatch's
    CALLBACK = "callback"  # tells a thread how another dispatch ended


def new_id() -> str:
    return str(uuid.uuid4())


def _enum(kind: type[StrEnum]) -> Enum:
    """Stored as text, so that a new member needs no migration."""
    return Enum(
        kind,
        native_enum=False,
        length=32,
        create_constraint=False,
        values_callable=lambda members: [member.value for member in members],
    )


# 64 bits on both; SQLite numbers rows by itself only under the name INTEGER, which has 64 there.
_Big = BigInteger().with_variant(Integer, "sqlite")


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


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


class MessageRow(SQLModel, table=True):
    """The table of messages. Ids are one sequence over all channels and are never reused."""

    __tablename__ = "message"
    __table_args__ = (
        Index("ix_message_target_id", "target", "id"),
        _partial(
            "uq_message_idempotency", "sender", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True
        ),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, sa_column=Column(_Big, primary_key=True))
    ts: float
    target: str = Field(foreign_key="channel.name")
    sender: str
    text: str = Field(sa_column=Column(Text, nullable=False))
    source: str
    reply_to: int | None = Field(default=None, sa_column=Column(_Big))
    dispatch_id: str | None = None
    idempotency_key: str | None = None


class Reader(SQLModel, table=True):
    """Where a named reader of a channel stands: everything up to `acked_id` is settled and is not handed out again."""

    target: str = Field(primary_key=True, foreign_key="channel.name")
    name: str = Field(primary_key=True)
    acked_id: int = Field(sa_column=Column(_Big, nullable=False))
    updated_at: float = Field(default_factory=time.time)


class Thread(SQLModel, table=True):
    """A Codex thread that the hub made or used. Codex owns the thread, this row only remembers it.

    The row is also the lock under which a thread's line of dispatches is looked at and joined.
    """

    home: str = Field(primary_key=True)
    thread_id: str = Field(primary_key=True)
    project_id: str
    name: str
    made_here: bool = False
    created_at: float = Field(default_factory=time.time)
    last_used_at: float = Field(default_factory=time.time)
    last_turn_id: str | None = None


_UNFINISHED = "finished_at IS NULL"
_OCCUPIED = "finished_at IS NULL AND status <> 'queued'"
_UNTOLD = "callback_status = 'pending' AND finished_at IS NOT NULL"


class Dispatch(SQLModel, table=True):
    """One piece of work for a thread, from accepted to its end.

    `finished_at` is set when the engine has no more to do for it. Until then it stands in its thread's line,
    ordered by `seq`; a dispatch that is past its limit stays there while its turn may still run.
    """

    __table_args__ = (
        _partial("ix_dispatch_line", "home", "thread_id", "seq", where=_UNFINISHED),
        _partial("uq_dispatch_one_at_a_time", "home", "thread_id", where=_OCCUPIED, unique=True),
        _partial("ix_dispatch_unfinished", "home", "status", "seq", where=_UNFINISHED),
        _partial("ix_dispatch_callback", "home", "seq", where=_UNTOLD),
        CheckConstraint("attempt >= 0", name="ck_dispatch_attempt"),
        {"sqlite_autoincrement": True},
    )

    seq: int | None = Field(default=None, sa_column=Column(_Big, primary_key=True))
    id: str = Field(default_factory=new_id, unique=True)
    origin: Origin = Field(sa_column=Column(_enum(Origin), nullable=False))
    parent_id: str | None = Field(default=None, index=True)

    home: str
    project_id: str
    thread_id: str
    thread_name: str
    created: bool = False
    resolution: str
    message: str = Field(sa_column=Column(Text, nullable=False))
    timeout_sec: int | None = None
    warning: str | None = None

    status: DispatchStatus = Field(
        default=DispatchStatus.QUEUED, sa_column=Column(_enum(DispatchStatus), nullable=False)
    )
    turn_id: str | None = None
    reply_text: str | None = Field(default=None, sa_column=Column(Text))
    error_code: str | None = None
    error_message: str | None = Field(default=None, sa_column=Column(Text))
    timing_ms: int | None = None

    callback_thread_id: str | None = None
    callback_status: CallbackStatus = Field(
        default=CallbackStatus.NOT_REQUESTED,
        sa_column=Column(_enum(CallbackStatus), nullable=False),
    )
    callback_turn_id: str | None = None
    callback_error_code: str | None = None
    callback_error_message: str | None = Field(default=None, sa_column=Column(Text))
    callback_delivered_at: float | None = None

    created_at: float = Field(default_factory=time.time)
    accepted_at: float = Field(default_factory=time.time)
    updated_at: float = Field(default_factory=time.time)
    started_at: float | None = None
    finished_at: float | None = None

    owner: str | None = Field(default=None, index=True)
    attempt: int = 0
    lease_expires_at: float | None = None
    not_before: float = 0.0


class DispatchEvent(SQLModel, table=True):
    """One line of a dispatch's history: what happened, when, in which attempt."""

    __table_args__ = (Index("ix_dispatchevent_dispatch", "dispatch_id", "id"),)

    id: int | None = Field(default=None, sa_column=Column(_Big, primary_key=True))
    dispatch_id: str = Field(foreign_key="dispatch.id")
    ts: float = Field(default_factory=time.time)
    attempt: int = 0
    kind: str = Field(sa_column=Column(String(32), nullable=False))
    detail: str = Field(default="", sa_column=Column(Text, nullable=False))


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a dispatch. `attempt` is the fencing token: a later holder outdates it."""

    dispatch_id: str
    owner: str
    attempt: int

    @property
    def client_message_id(self) -> str:
        """What our message is called inside the thread, so that the thread can be asked for it."""
        return f"{self.dispatch_id}/{self.attempt}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a dispatch ended."""

    status: DispatchStatus
    turn_id: str | None = None
    reply_text: str | None = None
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class DispatchRequest:
    """What a caller wants done, and for which thread. One selector at least, or `create_if_missing`."""

    message: str
    project_id: str | None = None
    thread_id: str | None = None
    thread_name: str | None = None
    query: str | None = None
    create_if_missing: bool = False
    timeout_sec: int | None = None
    callback_thread_id: str | None = None


class Topic:
    """Names of what a hint can be about."""

    CHANNELS = "channels"
    MESSAGES = "messages"
    COUNTS = "counts"
    DISPATCHES = "dispatches"

    @staticmethod
    def channel(name: str) -> str:
        return f"channel:{name}"

    @classmethod
    def posted(cls, target: str | None) -> str:
        """New messages of a channel; of all channels where `target` is None."""
        return cls.MESSAGES if target is None else cls.channel(target)

    @staticmethod
    def dispatch(dispatch_id: str) -> str:
        return f"dispatch:{dispatch_id}"
