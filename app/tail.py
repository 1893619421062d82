"""The newest messages of channels that are being read, in memory: readers near the end of a channel share one query.

What is here was read from the database and never changes, so it cannot be wrong, only short at its end. A hint says
when to look again; where other hubs write to the same database hints may be late, so there every reader has it looked
at again, and readers that ask together share the look.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict

from app.bus import Bus, SharedLook
from app.models import Message, Topic
from app.storage import messages
from app.storage.database import Database

MOST_TAILS = 64
MOST_MESSAGES = 1000
MOST_CHARS = 500_000
"""Bounds: how many channels, and how much of each."""
BATCH = 500


def _id(message: Message) -> int:
    return message.id


class Tail:
    """The end of one channel, or of all of them together."""

    def __init__(self, database: Database, bus: Bus, target: str | None) -> None:
        self._database = database
        self._target = target
        # Where no other hub writes, a hint comes before the answer to whoever posted.
        self._shared = SharedLook(bus, Topic.posted(target), self._look, trusts_hints=database.is_sqlite)
        self.close = self._shared.close
        self._messages: list[Message] = []
        self._chars = 0
        self._floor: int | None = None  # every message after it is in _messages; None: nothing is known yet

    async def after(
        self, since_id: int, limit: int, sender: str | None = None, not_sender: str | None = None
    ) -> list[Message] | None:
        """The oldest messages after an id; None where they are too far back."""
        await self._shared.fresh()
        assert self._floor is not None
        if since_id < self._floor:
            return None
        start = bisect_right(self._messages, since_id, key=_id)
        if sender is None and not_sender is None:
            return self._messages[start : start + limit]
        found = _by(sender, self._messages[start:])
        return [message for message in found if message.sender != not_sender][:limit]

    async def newest(self, limit: int, before_id: int | None, sender: str | None) -> list[Message] | None:
        """The newest messages, or those before an id, oldest first; None where they are too far back."""
        await self._shared.fresh()
        end = len(self._messages) if before_id is None else bisect_left(self._messages, before_id, key=_id)
        found = _by(sender, self._messages[:end])[-limit:]
        return found if len(found) == limit or self._floor == 0 else None

    async def last_id(self) -> int:
        """The id of the newest message, 0 where there is none."""
        await self._shared.fresh()
        return self._messages[-1].id if self._messages else 0

    async def _look(self) -> None:
        if self._floor is None:
            self._messages = await self._database.read(messages.newest, self._target, MOST_MESSAGES)
            self._floor = self._messages[0].id - 1 if messages.is_full(self._messages, MOST_MESSAGES) else 0
            self._chars = sum(len(message.text) for message in self._messages)
        else:
            is_more = True
            while is_more:
                last = self._messages[-1].id if self._messages else self._floor
                found = await self._database.read(messages.after, self._target, last, BATCH)
                self._messages += found
                self._chars += sum(len(message.text) for message in found)
                is_more = messages.is_full(found, BATCH)
        self._shorten()

    def _shorten(self) -> None:
        # To half the bounds, so that this is done now and then and not for each message.
        if len(self._messages) <= MOST_MESSAGES and self._chars <= MOST_CHARS:
            return
        cut = max(0, len(self._messages) - MOST_MESSAGES // 2)
        chars = sum(len(message.text) for message in self._messages[cut:])
        while chars > MOST_CHARS // 2 and cut < len(self._messages) - 1:
            chars -= len(self._messages[cut].text)
            cut += 1
        if cut:
            self._floor = self._messages[cut - 1].id
        self._messages = self._messages[cut:]
        self._chars = chars


class Tails:
    """The tails of the channels that were read last."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self._tails: OrderedDict[str | None, Tail] = OrderedDict()

    def of(self, target: str | None) -> Tail:
        """The tail of a channel; of all channels where `target` is None."""
        tail = self._tails.get(target)
        if tail is None:
            tail = self._tails[target] = Tail(self._database, self._bus, target)
            if len(self._tails) > MOST_TAILS:
                self._tails.popitem(last=False)[1].close()
        self._tails.move_to_end(target)
        return tail


def _by(sender: str | None, found: list[Message]) -> list[Message]:
    return found if sender is None else [message for message in found if message.sender == sender]
