"""Channels: the one place where a message is checked, stored and logged, whichever door it came through."""

import unicodedata
from typing import Any

from app.errors import BadRequest
from app.logs import Logs
from app.models import Message
from app.settings import Settings
from app.storage import messages
from app.storage.database import Database


class Chat:
    """Posts to channels and reads them."""

    def __init__(self, settings: Settings, database: Database, logs: Logs) -> None:
        self._settings = settings
        self._database = database
        self._logs = logs

    async def prepare(self) -> None:
        """Make the configured channels."""
        await self._database.write(messages.ensure_channels, self._settings.channels)

    async def post(self, *, target: Any, sender: Any, text: Any, source: str) -> Message:
        """Store one message and return it once it is durable.

        Target and sender are stripped, the text is kept to the letter.

        Raises:
            BadRequest: a field is missing, of the wrong type, too long or not storable; `field` names it.
        """
        target = self._name("target", target)
        sender = self._name("sender", sender)
        text = _string("text", text)
        if not text.strip():
            raise BadRequest("text is required", field="text")
        if len(text) > self._settings.max_text_chars:
            raise BadRequest(
                f"text is {len(text)} characters long; max_text_chars allows {self._settings.max_text_chars}",
                field="text",
            )
        message = await self._database.write(messages.append, target=target, sender=sender, text=text, source=source)
        self._logs.activity(
            "post_message",
            id=message.id,
            target=target,
            sender=sender,
            text_len=len(text),
            source=source,
        )
        self._logs.archive(message)
        return message

    async def fetch(self, target: str, since_id: int, limit: int) -> list[Message]:
        """The oldest messages after `since_id`, 1 to 200 of them: what an agent pages through."""
        limit = max(1, min(limit, 200))
        found = await self._database.read(messages.after, _sought(target), since_id, limit)
        self._logs.activity(
            "fetch_messages",
            target=target,
            since_id=since_id,
            limit=limit,
            returned=len(found),
            latest_id=found[-1].id if found else since_id,
        )
        return found

    async def newest(self, target: str, limit: int) -> list[Message]:
        """The newest messages of a channel, 1 to 500 of them, oldest first."""
        return await self._database.read(messages.newest, _sought(target), max(1, min(limit, 500)))

    async def channels(self) -> list[str]:
        """Names of all channels, sorted."""
        return [channel.name for channel in await self._database.read(messages.channels)]

    def _name(self, field: str, value: Any) -> str:
        name = _string(field, value).strip()
        if not name:
            raise BadRequest(f"{field} is required", field=field)
        if len(name) > self._settings.max_name_chars:
            raise BadRequest(
                f"{field} is {len(name)} characters long; max_name_chars allows {self._settings.max_name_chars}",
                field=field,
            )
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
            raise BadRequest(f"{field} must not contain control characters", field=field)
        return name


def _sought(target: str) -> str:
    """The name to look for; what no channel can be called is looked for under no name at all."""
    return "" if "\0" in target else target.strip()


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
