"""The vocabulary: tables, states and the values that travel between modules.

Times are unix seconds as floats: one form for both databases, for JSON and for arithmetic.
"""

from app.models.approvals import Approval, ApprovalKind, ApprovalStatus, Pause
from app.models.dispatches import (
    TRANSITIONS,
    CallbackStatus,
    Dispatch,
    DispatchEvent,
    DispatchRequest,
    DispatchStatus,
    Lease,
    Origin,
    Outcome,
    Thread,
    TurnItem,
)
from app.models.messages import Channel, Message, MessageRow, Reader
from app.models.principals import HUMAN_SCOPES, LOCAL, NOBODY, OWNER, Kind, Login, Principal, Scope, Token
from app.models.topics import Topic

__all__ = [
    "HUMAN_SCOPES",
    "LOCAL",
    "NOBODY",
    "OWNER",
    "TRANSITIONS",
    "Approval",
    "ApprovalKind",
    "ApprovalStatus",
    "CallbackStatus",
    "Channel",
    "Dispatch",
    "DispatchEvent",
    "DispatchRequest",
    "DispatchStatus",
    "Kind",
    "Lease",
    "Login",
    "Message",
    "MessageRow",
    "Origin",
    "Outcome",
    "Pause",
    "Principal",
    "Reader",
    "Scope",
    "Thread",
    "Token",
    "Topic",
    "TurnItem",
]
