"""Wire shapes that MCP and the JSON API share. Keys are stable and camelCase, but for the seed's messages."""

from app.schemas.dispatches import (
    AcceptedOut,
    DispatchAsyncIn,
    DispatchFilter,
    DispatchIn,
    DispatchOut,
    ItemOut,
    RecoveredOut,
    brief_json,
    recovered_json,
    status_json,
)
from app.schemas.fields import Id, Name, Seconds, Storable, Text, Time, Wire, explain, iso
from app.schemas.messages import MessageBytes, MessageOut, json_bytes, kept_if_short, message_json

__all__ = [
    "AcceptedOut",
    "DispatchAsyncIn",
    "DispatchFilter",
    "DispatchIn",
    "DispatchOut",
    "Id",
    "ItemOut",
    "MessageBytes",
    "MessageOut",
    "Name",
    "RecoveredOut",
    "Seconds",
    "Storable",
    "Text",
    "Time",
    "Wire",
    "brief_json",
    "explain",
    "iso",
    "json_bytes",
    "kept_if_short",
    "message_json",
    "recovered_json",
    "status_json",
]
