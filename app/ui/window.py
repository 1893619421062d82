"""Which messages of a channel stand on a page: the newest, those before or after one, or those around one."""

from collections.abc import Mapping
from typing import NamedTuple

from app.chat import Chat
from app.models import Message
from app.storage.messages import is_full
from app.ui.addresses import cursor

MESSAGES = 100
"""Messages on a page."""


class Window(NamedTuple):
    """Messages, oldest first, and where the pages before and after them begin; None where there are none."""

    messages: list[Message]
    before: int | None
    after: int | None
    missing: int | None
    """The id of a message that was asked for and is not in the channel."""


async def window(chat: Chat, channel: str, query: Mapping[str, str]) -> Window:
    """The page that a query asks for with `at`, `before` or `after`; without them, the newest messages.

    Raises:
        BadRequest: one of them is not a whole number.
    """
    at, before, after = (cursor(name, query.get(name)) for name in ("at", "before", "after"))
    pivot, older, newer = before, MESSAGES, 0
    if at is not None:
        pivot, older, newer = at, MESSAGES // 2, MESSAGES // 2
    elif after is not None:
        pivot, older, newer = after + 1, 0, MESSAGES
    # One more on each side tells whether there are more.
    rows = await chat.newest(channel, older + 1, pivot)
    begins = is_full(rows, older + 1)
    shown = rows[1:] if len(rows) > older else rows
    goes_on = False
    if pivot is not None:
        rows = await chat.after(channel, pivot - 1, newer + 1)
        goes_on = is_full(rows, newer + 1)
        shown += rows[:newer]
    missing = at if at is not None and all(message.id != at for message in shown) else None
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return Window(shown, first if begins else None, last if goes_on else None, missing)
