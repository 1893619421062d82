"""Messages in an answer that clients hand to their model whole.

Claude Code puts an answer of about 50,000 characters into a file. Codex takes the middle out of one of 48,000 bytes,
and with it the cursor to go on from. So answers are measured in bytes, as the compact JSON that both show.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from app.models import Message
from app.schemas import message_json
from app.tools.tool import Answer

MOST_TEXT = 40_000
MOST_MESSAGES = 47_000
"""Bounds of one answer: its texts alone, and its messages with all their fields."""


@dataclass
class Shown:
    """Messages as a client gets them, and the same as JSON."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    encoded: list[bytes] = field(default_factory=list)

    def answer(self, **more: Any) -> Answer:
        """The messages and further fields as a tool's answer."""
        text = b'{"messages":[' + b",".join(self.encoded) + b"]," + to_json(more)[1:]
        return Answer({"messages": self.messages, **more}, text.decode())


def fit(found: Iterable[Message], max_chars: int, text_offset: int = 0) -> Shown:
    """As many of these messages, from the first on, as one answer holds; of the first always something.

    `max_chars` bounds the texts; it is brought into 1 to MOST_TEXT. `text_offset` leaves out so many characters of the
    first text. A text that is cut says with `text_length` how long it is, and with `rest` how to read on.
    """
    shown = Shown()
    text_room, room = max(1, min(max_chars, MOST_TEXT)), MOST_MESSAGES
    start = max(0, text_offset)
    for message in found:
        part = _part(message, start, len(message.text))
        # One character more than there is room for is enough to see that a text is too long.
        text_size = size(part["text"][: text_room + 1])
        if text_size > text_room or len(encoded := to_json(part)) > room:
            if shown.messages:
                break
            text_size = min(text_room, room - size(_part(message, start, start)))
            part = _part(message, start, start + _longest(message.text[start:], text_size))
            encoded = to_json(part)
        shown.messages.append(part)
        shown.encoded.append(encoded)
        text_room -= text_size
        room -= len(encoded) + 1
        start = 0
    return shown


def size(value: Any) -> int:
    """How many bytes it takes as JSON."""
    return len(to_json(value))


def call(tool: str, **arguments: Any) -> str:
    """A call of a tool, as a model reads and writes it."""
    written = (f"{name}={to_json(value).decode()}" for name, value in arguments.items())
    return f"{tool}({', '.join(written)})"


def _part(message: Message, start: int, end: int) -> dict[str, Any]:
    """A message with a part of its text."""
    length = len(message.text)
    part = message_json(message)
    if (start, end) != (0, length):
        part |= {"text": message.text[start:end], "text_length": length}
    if end < length:
        part["rest"] = call("fetch_messages", target=message.target, since_id=message.id - 1, limit=1, text_offset=end)
    return part


def _longest(text: str, most: int) -> int:
    """How many characters of a text, at least one, take at most so many bytes."""
    return max(1, bisect_right(range(1, min(len(text), most) + 1), most, key=lambda length: size(text[:length])))
