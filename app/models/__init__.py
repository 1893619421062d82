"""The vocabulary: tables, states and the values that travel between modules.

Times are unix seconds as floats: one form for both databases, for JSON and for arithmetic.
"""

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
from app.models.topics import Topic

__all__ = [
    "TRANSITIONS",
    "CallbackStatus",
    "Channel",
    "Dispatch",
    "DispatchEvent",
    "DispatchRequest",
    "DispatchStatus",
    "Lease",
    "Message",
    "MessageRow",
    "Origin",
    "Outcome",
    "Reader",
    "Thread",
    "Topic",
    "TurnItem",
]
