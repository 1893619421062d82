"""Channels as MCP resources: what a person attaches to a prompt, and a model reads without a tool."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote

import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from app.errors import HubError, NotFound
from app.hub import Hub
from app.models import Channel, Message, Scope
from app.schemas import iso
from app.tools.answers import MOST_TEXT, call, fit, size
from app.tools.transport import caller

PREFIX = "relay://channels/"
MARKDOWN = "text/markdown"
PAGE = 200
NEWEST = 100
MOST_OF_ONE = 16_000
"""How much of one message is shown: quoted it may take twice as much, and one must always fit."""
OLDER_NOT_FOUND = -32002
"""What protocols before 2026-07-28 say for a resource that does not exist."""


class Resources:
    """The handlers of the MCP server."""

    def __init__(self, hub: Hub) -> None:
        self._chat = hub.chat

    async def list(
        self, ctx: ServerRequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """All channels by name. The cursor is the name that the page before ended with."""
        with _protocol_errors(ctx):
            # Clients ask unbidden: whoever may not read is told of nothing, not refused.
            channels = await self._chat.channels() if Scope.READ in caller(ctx).scopes else []
        cursor = params.cursor if params else None
        left = channels if cursor is None else [channel for channel in channels if channel.name > cursor]
        page = left[:PAGE]
        return types.ListResourcesResult(
            resources=[_resource(channel) for channel in page],
            next_cursor=page[-1].name if len(left) > PAGE else None,
        )

    async def list_templates(
        self, _: ServerRequestContext, __: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        template = types.ResourceTemplate(
            uri_template=f"{PREFIX}{{channel}}",
            name="channel",
            description="The newest messages of a channel.",
            mime_type=MARKDOWN,
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read(
        self, ctx: ServerRequestContext, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """The end of a channel as Markdown."""
        with _protocol_errors(ctx):
            caller(ctx).require(Scope.READ)
            text = await self._page(params.uri)
        content = types.TextResourceContents(uri=params.uri, mime_type=MARKDOWN, text=text)
        return types.ReadResourceResult(contents=[content])

    async def _page(self, uri: str) -> str:
        name = unquote(uri.removeprefix(PREFIX)) if uri.startswith(PREFIX) else ""
        newest = await self._chat.newest(name, NEWEST)
        if not newest and name not in {channel.name for channel in await self._chat.channels()}:
            raise NotFound(f"There is no resource {uri}; resources/list has those that there are.", uri=uri)
        since_id = newest[-1].id if newest else 0
        head = (
            f"# {name}\n\nThe newest messages of this channel, oldest first.\n"
            f"All from the beginning: {call('fetch_messages', target=name)}\n"
            f"What comes after these: {call('fetch_messages', target=name, since_id=since_id)}"
        )
        room = MOST_TEXT - size(head)
        blocks: list[str] = []
        for message in reversed(newest):
            block = _block(message)
            room -= size(block)
            if room < 0:
                break
            blocks.append(block)
        return "\n\n".join([head, *reversed(blocks)]) + "\n"


def _resource(channel: Channel) -> types.Resource:
    return types.Resource(
        uri=PREFIX + quote(channel.name, safe=""),
        name=channel.name,
        description=f"{channel.message_count} messages; the newest are shown.",
        mime_type=MARKDOWN,
    )


def _block(message: Message) -> str:
    """One message. Every line of its text is quoted, so that no text can pass for another message."""
    (shown,) = fit([message], MOST_OF_ONE).messages
    head = f"**#{message.id} {message.sender}** {iso(message.ts)}"
    if message.reply_to:
        head += f", answers #{message.reply_to}"
    quoted = "\n".join(f"> {line}" for line in shown["text"].splitlines())
    rest = f"\n\nCut; the rest: {shown['rest']}" if "rest" in shown else ""
    return f"{head}\n\n{quoted}{rest}"


@contextmanager
def _protocol_errors(ctx: ServerRequestContext) -> Iterator[None]:
    """A failed request for a resource is an error of the protocol; its code depends on the protocol's age."""
    try:
        yield
    except HubError as error:
        is_older = ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS
        code = OLDER_NOT_FOUND if is_older and isinstance(error, NotFound) else error.rpc_code
        raise MCPError(code, f"[{error.code.value}] {error.message}", error.as_structured()) from error
