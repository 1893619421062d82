"""Tools for channels: the seed's three, which keep its names, arguments and results, and those that go past them."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import to_json

from app.errors import BadRequest
from app.hub import Hub
from app.models import Message, Scope
from app.schemas import Storable
from app.tools.answers import MOST_TEXT, fit
from app.tools.tool import Answer, Call, Tool

MOST = 200

Read = Callable[[], Awaitable[list[Message]]]
Text = Annotated[str, Storable]
# Not required to have a character: models write "" for what they leave out.
Name = Annotated[str, StringConstraints(strip_whitespace=True), Storable]


class NothingIn(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PostIn(NothingIn):
    target: str = Field(description='Channel, such as "proj-x".')
    sender: str = Field(description='Who you are: "claude", "codex", …')
    text: str = Field(description="Markdown.")
    reply_to: int | None = Field(None, description="Id of the message of this channel that you answer.")
    idempotency_key: str | None = Field(None, description="The same key posts once: for safe retries.")


class ReadIn(NothingIn):
    target: Text = Field(description="Channel.")
    reader: Name | None = Field(None, description="Your name: only what others wrote and you did not ack.")
    sender: Name | None = Field(None, description="Only from this sender. Not with reader.")
    limit: int = Field(50, description="1 to 200.")
    max_chars: int = Field(MOST_TEXT, description="Most text in one answer.")


class FetchIn(ReadIn):
    since_id: int = Field(0, description="The latest_id of your last fetch.")
    unread: bool | None = Field(None, description="True where reader is given.")
    text_offset: int = Field(0, description="Skip so many characters of the first text.")


class WaitIn(ReadIn):
    since_id: int | None = Field(None, description="Wait for messages after this id.")
    timeout_sec: int = Field(60, description="Up to 280.")


class AckIn(NothingIn):
    target: str = Field(description="Channel.")
    reader: str = Field(description="Your name.")
    up_to_id: int = Field(description="The latest_id of the answer that you have dealt with.")


class SearchIn(NothingIn):
    query: str = Field(description='Words, all of which must occur; "a phrase"; begin*.')
    target: Text | None = Field(None, description="Only in this channel.")
    sender: Name | None = Field(None, description="Only from this sender.")
    before_id: int | None = Field(None, description="Only before this id: the last one of the page before.")
    limit: int = Field(20, description="1 to 200.")
    max_chars: int = Field(MOST_TEXT, description="Most text in one answer.")


class ChatTools:
    """The channel tools of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._chat = hub.chat
        self._logs = hub.logs
        self._most_wait_sec = hub.settings.mcp_max_wait_sec

    async def post(self, given: PostIn, call: Call) -> Answer:
        message = await self._chat.post(
            target=given.target,
            sender=given.sender,
            text=given.text,
            source="mcp",
            principal=call.principal,
            reply_to=given.reply_to,
            idempotency_key=given.idempotency_key,
        )
        return _answer({"ok": True, "posted": message.id})

    async def fetch(self, given: FetchIn, call: Call) -> Answer:
        if given.unread and not given.reader:
            raise BadRequest("unread needs reader: the name by which you ack", field="reader")
        reader = None if given.unread is False else given.reader
        since_id, read = await self._reading(given, given.since_id, reader, call)
        return await self._page("fetch_messages", given, since_id, await read(), given.text_offset)

    async def wait(self, given: WaitIn, call: Call) -> Answer:
        since_id = given.since_id
        if since_id is None:
            since_id = 0 if given.reader else await self._chat.last_id(given.target)
        since_id, read = await self._reading(given, since_id, given.reader, call)
        found = await self._chat.wait(read, given.target, min(given.timeout_sec, self._most_wait_sec), call.tick)
        return await self._page("wait_for_messages", given, since_id, found)

    async def ack(self, given: AckIn, call: Call) -> Answer:
        acked = await self._chat.ack(given.target, given.reader, given.up_to_id, call.principal)
        return _answer({"ok": True, "acked": acked})

    async def search(self, given: SearchIn, _: Call) -> Answer:
        limit = _clamped(given.limit)
        found = await self._chat.search(
            given.query,
            target=given.target or None,
            sender=given.sender or None,
            before_id=given.before_id,
            limit=limit + 1,
        )
        shown = fit(found[:limit], given.max_chars)
        return shown.answer(has_more=len(found) > len(shown.messages))

    async def channels(self, _given: NothingIn, _: Call) -> Answer:
        return _answer({"channels": [channel.name for channel in await self._chat.channels()]})

    async def _reading(self, given: ReadIn, since_id: int, reader: str | None, call: Call) -> tuple[int, Read]:
        """The id to read after, and what reads: one message more than is shown, which tells whether there are more."""
        if reader and given.sender:
            raise BadRequest(
                "sender does not go with reader: an ack would settle the messages that sender leaves out. "
                "Give reader alone, or sender with since_id.",
                field="sender",
            )
        if reader:
            since_id = max(since_id, await self._chat.acked(given.target, reader, call.principal))
        read = partial(
            self._chat.after,
            given.target,
            since_id,
            _clamped(given.limit) + 1,
            given.sender or None,
            # What a reader wrote itself is no news to it.
            not_sender=reader or None,
        )
        return since_id, read

    async def _page(
        self, event: str, given: ReadIn, since_id: int, found: list[Message], text_offset: int = 0
    ) -> Answer:
        limit = _clamped(given.limit)
        shown = fit(found[:limit], given.max_chars, text_offset)
        returned = len(shown.messages)
        latest = found[returned - 1].id if returned else since_id
        asked = {"target": given.target, "since_id": since_id, "limit": limit}
        self._logs.activity(event, **asked, returned=returned, latest_id=latest)
        await self._logs.written()
        return shown.answer(latest_id=latest, has_more=len(found) > returned)


def tools(hub: Hub) -> list[Tool]:
    """The channel tools of a hub."""
    chat = ChatTools(hub)
    return [
        Tool(
            "post_message",
            'Post a message to a shared channel. Typical ones: "codex", "claude", or one per project like "proj-x".',
            PostIn,
            chat.post,
            Scope.POST,
            caller="sender",
        ),
        Tool(
            "fetch_messages",
            "Read a channel's messages after since_id, oldest first; reading takes nothing away. While has_more, go on "
            "with latest_id as since_id. A text that is cut has text_length and rest, the call that reads on. With "
            "reader the hub keeps your place: you get what you did not ack, again and again until you do.",
            FetchIn,
            chat.fetch,
            Scope.READ,
            read_only=True,
        ),
        Tool(
            "wait_for_messages",
            "Like fetch_messages, but waits if there is nothing yet. With reader: for what you did not ack, never your "
            "own. With neither reader nor since_id: for the next message from now. If the time ends without one, "
            "messages is empty: call again, with latest_id as since_id unless you give reader.",
            WaitIn,
            chat.wait,
            Scope.READ,
            read_only=True,
            waits=True,
        ),
        Tool(
            "ack_messages",
            "Settle a channel's messages up to an id, so that reader does not get them again.",
            AckIn,
            chat.ack,
            Scope.READ,
            caller="reader",
        ),
        Tool(
            "search_messages",
            "Search the messages of all channels, newest first.",
            SearchIn,
            chat.search,
            Scope.READ,
            read_only=True,
        ),
        Tool("list_channels", "List all channels.", NothingIn, chat.channels, Scope.READ, read_only=True),
    ]


def _clamped(limit: int) -> int:
    return max(1, min(limit, MOST))


def _answer(payload: dict[str, Any]) -> Answer:
    return Answer(payload, to_json(payload).decode())
