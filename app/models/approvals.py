"""What Codex asks while a turn runs, and what a human said to it; and what the loop guard has paused."""

import time
from enum import StrEnum

from sqlalchemy import Column, Index, Text
from sqlmodel import Field, SQLModel

from app.models.columns import enum, partial_index
from app.models.dispatches import new_id


class ApprovalKind(StrEnum):
    COMMAND = "command"  # run it
    FILES = "files"  # change them
    PERMISSIONS = "permissions"  # more than the sandbox gives
    INPUT = "input"  # answers to questions
    ELICITATION = "elicitation"  # data that an MCP server wants
    TOOL = "tool"  # call a tool of an MCP server


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"  # by a human, or by a rule of the settings
    EXPIRED = "expired"  # nobody answered in time, which is a no
    WITHDRAWN = "withdrawn"  # the turn ended, or Codex asked no more


class Approval(SQLModel, table=True):
    """One question of Codex and its answer. The answer counts for this question, as it was asked, once."""

    __table_args__ = (
        partial_index("ix_approval_pending", "home", "created_at", where="status = 'pending'"),
        Index("ix_approval_dispatch", "dispatch_id", "created_at"),
        Index("ix_approval_created", "created_at", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    home: str
    dispatch_id: str = Field(foreign_key="dispatch.id", ondelete="CASCADE")
    thread_id: str
    turn_id: str
    item_id: str
    """What Codex calls the command, the change or the call; empty where it does not say."""
    request_id: str
    """The app-server's number of the question, as JSON: the same when it asks again."""
    kind: ApprovalKind = Field(sa_column=Column(enum(ApprovalKind), nullable=False))
    asked: str = Field(sa_column=Column(Text, nullable=False))
    """What exactly is asked, as JSON."""
    digest: str
    """SHA-256 of `asked`; whoever answers names it."""
    status: ApprovalStatus = Field(
        default=ApprovalStatus.PENDING, sa_column=Column(enum(ApprovalStatus), nullable=False)
    )
    answer: str | None = Field(default=None, sa_column=Column(Text))
    """What a human filled in, as JSON."""
    answered_by: str | None = None
    """A principal's name, `rule: …` of the settings, or `relay-hub` for what ended by itself."""
    created_at: float = Field(default_factory=time.time)
    expires_at: float
    answered_at: float | None = None
    used_at: float | None = None
    """When Codex was told."""


class Pause(SQLModel, table=True):
    """Something that the loop guard has stopped, until a human resumes it."""

    __table_args__ = (partial_index("ix_pause_now", "paused_at", where="resumed_at IS NULL"),)

    key: str = Field(primary_key=True)
    """`chain:<dispatch id>` or `home:<Codex home>`."""
    reason: str = Field(sa_column=Column(Text, nullable=False))
    paused_at: float = Field(default_factory=time.time)
    resumed_at: float | None = None
    """Budgets count from here."""
    resumed_by: str | None = None

    @staticmethod
    def of_chain(chain_id: str) -> str:
        """The key of a chain."""
        return f"chain:{chain_id}"

    @staticmethod
    def of_home(home: str) -> str:
        """The key of a Codex home."""
        return f"home:{home}"
