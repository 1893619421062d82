"""Threads, the dispatches that stand in their lines, and what is known of the turns that they became."""

import time
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, Index, String, Text
from sqlmodel import Field, SQLModel

from app.models.columns import BIG, enum, partial_index


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
    DispatchStatus.TIMED_OUT: frozenset({DispatchStatus.SUCCEEDED, DispatchStatus.FAILED, DispatchStatus.CANCELLED}),
    DispatchStatus.SUCCEEDED: frozenset(),
    DispatchStatus.FAILED: frozenset({DispatchStatus.QUEUED}),  # only when somebody asks for it to be run again
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
_UNTOLD = "callback_status = 'pending' AND (finished_at IS NOT NULL OR status = 'timed_out')"
_PUT_OFF = "finished_at IS NULL AND not_before > 0"
_ACTIONABLE = "finished_at IS NULL OR callback_status IN ('pending', 'failed')"


class Dispatch(SQLModel, table=True):
    """One piece of work for a thread, from accepted to its end.

    `finished_at` is set when the engine has no more to do for it. Until then it stands in its thread's line,
    ordered by `seq`; a dispatch that is past its limit stays there while its turn may still run.
    """

    __table_args__ = (
        partial_index("ix_dispatch_line", "home", "thread_id", "seq", where=_UNFINISHED),
        partial_index("uq_dispatch_one_at_a_time", "home", "thread_id", where=_OCCUPIED, unique=True),
        partial_index("ix_dispatch_unfinished", "home", "status", "seq", where=_UNFINISHED),
        partial_index("ix_dispatch_callback", "home", "seq", where=_UNTOLD),
        partial_index("ix_dispatch_actionable", "updated_at", where=_ACTIONABLE),
        partial_index("ix_dispatch_put_off", "home", "not_before", where=_PUT_OFF),
        partial_index(
            "uq_dispatch_idempotency", "home", "idempotency_key", where="idempotency_key IS NOT NULL", unique=True
        ),
        partial_index("ix_dispatch_chain", "chain_id", "accepted_at", where="chain_id IS NOT NULL"),
        Index("ix_dispatch_home_accepted", "home", "accepted_at"),
        Index("ix_dispatch_project_seq", "project_id", "seq"),
        Index("ix_dispatch_thread_seq", "thread_id", "seq"),
        Index("ix_dispatch_status_seq", "status", "seq"),
        CheckConstraint("attempt >= 0", name="ck_dispatch_attempt"),
        {"sqlite_autoincrement": True},
    )

    seq: int | None = Field(default=None, sa_column=Column(BIG, primary_key=True))
    id: str = Field(default_factory=new_id, unique=True)
    origin: Origin = Field(sa_column=Column(enum(Origin), nullable=False))
    parent_id: str | None = Field(default=None, index=True)
    caller_thread_id: str | None = None
    """The Codex thread that asked, as it said itself."""
    caller_dispatch_id: str | None = None
    """The dispatch whose turn ran in that thread then."""
    requested_by: str | None = None
    """The principal that asked; None: somebody on this machine whom nobody checked."""
    requested_badge: str | None = Field(default=None, sa_column=Column(String(16)))
    """How the principal was known, as for messages: `human` by a login in the browser, else by a token."""
    chain_id: str | None = None
    """The first dispatch of the chain that led to this one; None: it is the first itself."""
    hops: int = 0
    """How many dispatched turns led to this one, each asked for by the one before."""
    idempotency_key: str | None = None

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
        default=DispatchStatus.QUEUED, sa_column=Column(enum(DispatchStatus), nullable=False)
    )
    turn_id: str | None = None
    reply_text: str | None = Field(default=None, sa_column=Column(Text))
    error_code: str | None = None
    error_message: str | None = Field(default=None, sa_column=Column(Text))
    timing_ms: int | None = None
    waiting_for: str | None = Field(default=None, sa_column=Column(Text))
    """Why it does not go on at the moment, for people."""
    in_codex_queue: bool = False
    """Its message lies in Codex's own queue, for whoever holds the thread."""
    cancel_requested_at: float | None = None

    diff: str | None = Field(default=None, sa_column=Column(Text))
    """What the turn changed in files so far, as a unified diff; cut where it is very long."""
    usage: str | None = Field(default=None, sa_column=Column(Text))
    """Tokens of the turn as JSON: inputTokens, cachedInputTokens, outputTokens, totalTokens, contextWindow."""

    callback_thread_id: str | None = None
    callback_url: str | None = Field(default=None, sa_column=Column(Text))
    callback_channel: str | None = None
    """A channel is told in the transaction that ends the dispatch, so it has no status of its own."""
    callback_status: CallbackStatus = Field(
        default=CallbackStatus.NOT_REQUESTED,
        sa_column=Column(enum(CallbackStatus), nullable=False),
    )
    callback_turn_id: str | None = None
    callback_error_code: str | None = None
    callback_error_message: str | None = Field(default=None, sa_column=Column(Text))
    callback_delivered_at: float | None = None
    callback_attempts: int = 0
    callback_not_before: float = 0.0

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

    id: int | None = Field(default=None, sa_column=Column(BIG, primary_key=True))
    dispatch_id: str = Field(foreign_key="dispatch.id")
    ts: float = Field(default_factory=time.time)
    attempt: int = 0
    kind: str = Field(sa_column=Column(String(32), nullable=False))
    detail: str = Field(default="", sa_column=Column(Text, nullable=False))


class TurnItem(SQLModel, table=True):
    """One thing that a turn said or did, in bounded form: a message, a command, a change of files, the plan."""

    dispatch_id: str = Field(foreign_key="dispatch.id", primary_key=True)
    item_id: str = Field(primary_key=True)
    position: int
    kind: str = Field(sa_column=Column(String(32), nullable=False))
    """`message`, `command`, `files`, `tool`, `plan`, `reasoning`, or Codex's own name of what we do not know."""
    title: str = Field(default="", sa_column=Column(Text, nullable=False))
    text: str = Field(default="", sa_column=Column(Text, nullable=False))
    status: str = Field(default="", sa_column=Column(String(32), nullable=False))
    """Codex's word: `inProgress`, `completed`, `failed`, `declined`."""
    updated_at: float = Field(default_factory=time.time)


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
    callback_url: str | None = None
    callback_channel: str | None = None
    queue_if_busy: bool = True
    idempotency_key: str | None = None
    caller_thread_id: str | None = None
    requested_by: str | None = None
    requested_badge: str | None = None
