"""Who may do what: principals, the tokens by which they are known, and the logins of people."""

import time
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from app.errors import Forbidden
from app.models.columns import enum


class Scope(StrEnum):
    """One right. No right holds another."""

    READ = "read"  # messages and dispatches
    POST = "post"  # messages
    DISPATCH = "dispatch"  # work for Codex: begin, cancel, recover
    APPROVE = "approve"  # what Codex asks; people alone
    ADMIN = "admin"  # resume what the loop guard has paused; people alone


class Kind(StrEnum):
    AGENT = "agent"
    HUMAN = "human"


HUMAN_SCOPES = frozenset({Scope.APPROVE, Scope.ADMIN})
"""An agent's token can never hold these."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever makes a request, as far as the hub knows."""

    name: str
    """The sender of all that it posts; empty where nobody has to say who they are."""
    kind: Kind
    scopes: frozenset[Scope]
    by_login: bool = False
    """Known by a browser session; only then a message is shown as a human's."""

    @property
    def badge(self) -> str | None:
        """How messages of this principal are marked; None: by nothing, for nobody checked the name."""
        if not self.name:
            return None
        return Kind.HUMAN.value if self.by_login else Kind.AGENT.value

    def require(self, scope: Scope) -> None:
        """
        Raises:
            Forbidden: it lacks this right.
        """
        if scope not in self.scopes:
            who = f"{self.name} has not got it" if self.name else "without a token nobody has it here"
            raise Forbidden(f"This needs the scope {scope}, and {who}.", scope=scope.value)

    def own(self, field: str, given: str) -> str:
        """The name under which it acts; `given` is what it calls itself, which may be nothing.

        Raises:
            Forbidden: that is the name of somebody else.
        """
        if not self.name or given == self.name:
            return given
        if given:
            raise Forbidden(f"You are known as {self.name}: {field} must be that name, or be left out.", field=field)
        return self.name


NOBODY = Principal("", Kind.AGENT, frozenset())
"""Whoever asks for what needs no right."""
OWNER = Principal("", Kind.HUMAN, frozenset(Scope))
"""Whoever sits at a hub without tokens, at its pages; and who can read the key in its data folder."""
LOCAL = Principal("", Kind.AGENT, frozenset(Scope) - HUMAN_SCOPES)
"""A program that reaches a hub without tokens."""


class Token(SQLModel, table=True):
    """A principal and its secret, of which only the SHA-256 is kept: the secret has 256 random bits."""

    name: str = Field(primary_key=True)
    kind: Kind = Field(sa_column=Column(enum(Kind), nullable=False))
    scopes: str
    """Names of scopes, in order, with commas between."""
    digest: str = Field(unique=True)
    created_at: float = Field(default_factory=time.time)
    expires_at: float | None = None
    revoked_at: float | None = None


class Login(SQLModel, table=True):
    """A browser session, known by the SHA-256 of its cookie. It ends with its token at the latest."""

    digest: str = Field(primary_key=True)
    name: str = Field(foreign_key="token.name", index=True)
    created_at: float = Field(default_factory=time.time)
    expires_at: float
