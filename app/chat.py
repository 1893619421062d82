"""Channels: the one place where a message is checked, stored and logged, whichever door it came through."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from app.bus import Bus, BusClosed
from app.errors import BadRequest, DatabaseUnavailable, HubStopping, IdempotencyConflict, NotFound
from app.logs import Logs
from app.models import Channel, Message, Principal, Topic
from app.settings import CONTROL, Settings
from app.storage import messages, search
from app.storage.database import Database
from app.tail import Tails

COUNTS_SEC = 1.0
"""Pages learn of other channels' new messages at most this often."""
INDEX_QUIET_SEC = 1.0
INDEX_LATEST_SEC = 30.0
INDEXED_AT_ONCE = 500
"""Posts wait for a part of the index to be written, so the parts are small."""
LOOK_AGAIN_SEC = 5.0
"""A hint may be lost, so whoever waits looks by itself as well."""
TICK_SEC = 10.0
MAX_KEY_CHARS = 200

Tick = Callable[[float, str | None], Awaitable[None]]


class Chat:
    """Posts to channels and reads them."""

    def __init__(self, settings: Settings, database: Database, bus: Bus, logs: Logs) -> None:
        self._settings = settings
        self._database = database
        self._bus = bus
        self._logs = logs
        self._tails = Tails(database, bus)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Make the configured channels; while the hub runs, tell pages of new counts and index messages for search."""
        await self._database.write(messages.ensure_channels, self._settings.channels)
        tasks = [asyncio.create_task(self._tell_counts()), asyncio.create_task(self._index())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def post(
        self,
        *,
        target: Any,
        sender: Any,
        text: Any,
        source: str,
        principal: Principal,
        reply_to: Any = None,
        idempotency_key: Any = None,
    ) -> Message:
        """Store one message and return it once it is durable.

        Target and sender are stripped, the text is kept to the letter. A principal with a name is the sender and need
        not say so. A sender that uses an idempotency key again gets the message that it posted first.

        Raises:
            BadRequest: a field is missing, of the wrong type, too long or not storable; `field` names it.
            Forbidden: the sender is somebody else than the principal.
            IdempotencyConflict: the sender has used the key for another message.
        """
        target = self._name("target", target)
        sender = self._name("sender", principal.own("sender", _string("sender", sender).strip()))
        text = _string("text", text)
        if not text.strip():
            raise BadRequest("text is required", field="text")
        if len(text) > self._settings.max_text_chars:
            raise BadRequest(
                f"text is {len(text)} characters long; max_text_chars allows {self._settings.max_text_chars}",
                field="text",
            )
        key = _string("idempotency_key", idempotency_key).strip() or None
        if key and len(key) > MAX_KEY_CHARS:
            raise BadRequest(f"idempotency_key must have at most {MAX_KEY_CHARS} characters", field="idempotency_key")
        if reply_to is not None:
            reply_to = await self._answered(target, reply_to)
        try:
            post = messages.Post(target, sender, text, source, reply_to, badge=principal.badge, idempotency_key=key)
            message = await self._database.write_each(messages.append_each, post)
        except messages.AlreadyPosted as found:
            if (found.message.target, found.message.text) != (target, text):
                raise IdempotencyConflict(
                    f"{sender} has used this idempotency_key for message #{found.message.id}, which says something "
                    "else. Take a new key for each message.",
                    field="idempotency_key",
                    posted=found.message.id,
                ) from None
            return found.message
        self._logs.posted(message)
        await self._logs.written()
        return message

    async def after(
        self, target: str | None, since_id: int, limit: int, sender: str | None = None, not_sender: str | None = None
    ) -> list[Message]:
        """The oldest messages after an id: a reader that goes on from the last one misses none.

        No target: of all channels.
        """
        target, sender = _sought(target), _sought(sender)
        found = await self._tails.of(target).after(since_id, limit, sender, not_sender)
        if found is None:
            found = await self._database.read(messages.after, target, since_id, limit, sender, not_sender)
        return found

    async def newest(
        self, target: str, limit: int, before_id: int | None = None, sender: str | None = None
    ) -> list[Message]:
        """The newest messages of a channel, or the newest before an id, oldest first."""
        sought, sender = _sought(target), _sought(sender)
        found = await self._tails.of(sought).newest(limit, before_id, sender)
        if found is None:
            found = await self._database.read(messages.newest, sought, limit, before_id, sender)
        return found

    async def last_id(self, target: str | None) -> int:
        """The id of the newest message of a channel, or of all; 0 where there is none."""
        return await self._tails.of(_sought(target)).last_id()

    async def wait(
        self,
        read: Callable[[], Awaitable[list[Message]]],
        target: str | None,
        timeout_sec: float,
        tick: Tick | None = None,
    ) -> list[Message]:
        """What `read` finds in a channel as soon as it finds something; nothing when the time is over.

        `tick` is told now and then how many seconds have passed.

        Raises:
            HubStopping: the hub stops meanwhile; nothing is lost, ask again.
        """
        started = ticked = time.monotonic()
        with self._bus.subscribe(Topic.posted(target and target.strip())) as hints:
            while not (found := await read()):
                now = time.monotonic()
                if (left := started + timeout_sec - now) <= 0:
                    break
                if tick and now - ticked >= TICK_SEC:
                    ticked = now
                    await tick(now - started, None)
                try:
                    await hints.wait(min(left, LOOK_AGAIN_SEC))
                except BusClosed:
                    raise HubStopping("The hub is stopping. Ask again once it is back; nothing is lost.") from None
        return found

    async def acked(self, target: str, reader: str, principal: Principal) -> int:
        """The id up to which a reader has settled a channel; 0 for one that is new there.

        Raises:
            Forbidden: the reader is somebody else than the principal.
        """
        reader = self._name("reader", principal.own("reader", reader.strip()))
        return await self._database.read(messages.acked, _sought(target) or "", reader)

    async def ack(self, target: Any, reader: Any, up_to_id: int, principal: Principal) -> int:
        """Settle a channel for a reader up to an id, never backwards; returns the id up to which it is settled.

        Raises:
            NotFound: there is no such channel.
            Forbidden: the reader is somebody else than the principal.
        """
        target = self._name("target", target)
        reader = self._name("reader", principal.own("reader", _string("reader", reader).strip()))
        acked = await self._database.write(messages.ack, target, reader, up_to_id)
        if acked is None:
            raise NotFound(f"There is no channel {target}", field="target")
        return acked

    async def get(self, message_id: int) -> Message:
        """One message.

        Raises:
            NotFound: there is none of this id.
        """
        message = await self._database.read(messages.get, message_id)
        if message is None:
            raise NotFound(f"There is no message #{message_id}", id=message_id)
        return message

    async def search(
        self,
        query: str,
        *,
        target: str | None = None,
        sender: str | None = None,
        before_id: int | None = None,
        limit: int = 50,
    ) -> list[Message]:
        """Messages that hold all words of the query, newest first. `"quotes"` make a phrase, `word*` a beginning.

        Raises:
            BadRequest: there is no word in the query.
        """
        wanted = search.terms(query)
        if not wanted:
            raise BadRequest('Give at least one word to look for; "quotes" make a phrase, word* a beginning', field="q")
        while await self._database.write(search.index, INDEXED_AT_ONCE):
            pass
        return await self._database.read(search.search, wanted, limit, _sought(target), _sought(sender), before_id)

    async def channels(self) -> list[Channel]:
        """All channels by name."""
        return await self._database.read(messages.channels)

    async def senders(self, target: str) -> list[str]:
        """Who wrote in a channel lately."""
        return await self._database.read(messages.senders, target)

    async def _tell_counts(self) -> None:
        """Pass on that counts have changed, at a pace that a thousand pages can bear."""
        with suppress(BusClosed), self._bus.subscribe(Topic.MESSAGES, Topic.CHANNELS) as hints:
            while await hints.wait():
                self._bus.publish([Topic.COUNTS])
                await asyncio.sleep(COUNTS_SEC)

    async def _index(self) -> None:
        """Index messages when nobody has posted for a moment, or when that moment does not come."""
        with suppress(BusClosed), self._bus.subscribe(Topic.MESSAGES) as hints:
            hints.hint()  # of what an earlier hub left
            while await hints.wait():
                latest = time.monotonic() + INDEX_LATEST_SEC
                while time.monotonic() < latest and await hints.wait(INDEX_QUIET_SEC):
                    pass
                with suppress(DatabaseUnavailable):  # then it is done with the next message
                    while await self._database.write(search.index, INDEXED_AT_ONCE):
                        pass

    async def _answered(self, target: str, reply_to: Any) -> int:
        if not isinstance(reply_to, int) or isinstance(reply_to, bool):
            raise BadRequest("reply_to must be the id of a message", field="reply_to")
        answered = await self._database.read(messages.get, reply_to)
        if answered is None or answered.target != target:
            raise BadRequest(f"reply_to: there is no message #{reply_to} in channel {target}", field="reply_to")
        return reply_to

    def _name(self, field: str, value: Any) -> str:
        return checked_name(field, value, self._settings.max_name_chars)


def checked_name(field: str, value: Any, most: int) -> str:
    """A name of a channel, a sender or a reader, stripped.

    Raises:
        BadRequest: there is none, it is longer than `most`, or it could not be shown safely.
    """
    name = _string(field, value).strip()
    if not name:
        raise BadRequest(f"{field} is required", field=field)
    if len(name) > most:
        raise BadRequest(f"{field} is {len(name)} characters long; max_name_chars allows {most}", field=field)
    if CONTROL.search(name):
        raise BadRequest(f"{field} must not contain control characters", field=field)
    return name


def _sought(name: str | None) -> str | None:
    """The name to look for; what nothing can be called is looked for under no name at all."""
    if name is None:
        return None
    return "" if "\0" in name else name.strip()


def _string(field: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{field} must be a string", field=field)
    if "\0" in value:
        raise BadRequest(f"{field} must not contain NUL characters", field=field)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{field} contains a broken surrogate pair", field=field) from None
    return value
