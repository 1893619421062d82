"""Messages as JSON, made by hand where speed asks for it."""

import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import PydanticSerializationError, to_json

from app.models import Message

KEPT_MESSAGES = 1000
KEPT_CHARS = 8000
# Many programs that read event streams line by line take these for the end of a line.
_LINE_ENDS = [(chr(code).encode(), b"\\u%04x" % code) for code in (0x85, 0x2028, 0x2029)]


class MessageOut(BaseModel):
    """A message. `reply_to`, `dispatch_id` and `badge` are left out where there is none."""

    id: int
    ts: float = Field(description="Unix seconds.")
    target: str = Field(description="The channel.")
    sender: str
    text: str
    source: str = Field(description="The door it came through.")
    reply_to: int | None = None
    dispatch_id: str | None = None
    badge: str | None = Field(
        None, description="How the sender was known: `human` by a login in the browser, `agent` by a token."
    )


def message_json(message: Message) -> dict[str, Any]:
    """A message as MessageOut describes it. Made by hand: validating our own values again is most of a small answer."""
    shown: dict[str, Any] = {
        "id": message.id,
        "ts": message.ts,
        "target": message.target,
        "sender": message.sender,
        "text": message.text,
        "source": message.source,
    }
    if message.reply_to is not None:
        shown["reply_to"] = message.reply_to
    if message.dispatch_id is not None:
        shown["dispatch_id"] = message.dispatch_id
    if message.badge is not None:
        shown["badge"] = message.badge
    return shown


def kept_if_short(encode: Callable[[Message], bytes]) -> Callable[[Message], bytes]:
    """The same encoder, which remembers what it made of messages that are not long."""
    kept = lru_cache(KEPT_MESSAGES)(encode)
    return lambda message: (kept if len(message.text) <= KEPT_CHARS else encode)(message)


class MessageBytes:
    """Messages as JSON bytes, kept while they are in demand: encoding a page of them costs more than reading it."""

    def __init__(self) -> None:
        self.one = kept_if_short(_message_bytes)

    def many(self, messages: Iterable[Message]) -> bytes:
        """A JSON array."""
        return b"[" + b",".join(map(self.one, messages)) + b"]"


def json_bytes(value: Any) -> bytes:
    """Compact JSON. Half a surrogate pair, which a question may echo, stays an escape: it has no bytes."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return json.dumps(value, separators=(",", ":")).encode()


def _message_bytes(message: Message) -> bytes:
    encoded = to_json(message_json(message))
    if not encoded.isascii():
        for line_end, escape in _LINE_ENDS:
            encoded = encoded.replace(line_end, escape)
    return encoded
