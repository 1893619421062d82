"""How MCP answers travel: as plain JSON, but as an event stream for tools that take long and report progress.

The SDK knows one form for all answers of a server. JSON costs it less than half as much, and it is what the older
protocol's `initialize` was always answered with; progress can travel only on a stream.
"""

import asyncio
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

_json_for: ContextVar[asyncio.Task[Any] | None] = ContextVar("json_for", default=None)
"""The task of the request that is answered as JSON. Sessions have tasks of their own that inherit the variable."""


def _answers_json(_: object) -> bool:
    task = _json_for.get()
    return task is not None and task is asyncio.current_task()


def _ignore(_: object, __: bool) -> None:
    """The SDK sets the form once; here it is decided for each request."""


class _Transport(StreamableHTTPServerTransport):
    """A session whose form of answering depends on the request."""

    is_json_response_enabled = property(_answers_json, _ignore)


class SessionManager(StreamableHTTPSessionManager):
    """The SDK's, with the form of each answer chosen by what is asked."""

    json_response = property(_answers_json, _ignore)

    def __init__(self, server: Server[Any], streamed: Iterable[str], **options: Any) -> None:
        """`streamed` are the names of the tools that report progress."""
        super().__init__(server, **options)
        self._streamed = [name.encode() for name in streamed]

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app. The size of a body is bounded by whoever calls it."""
        if scope["method"] != "POST":
            await self._handle_request(scope, receive, send)
            return
        named = next((value for key, value in scope["headers"] if key == b"mcp-name"), None)
        if named is None:
            # The older protocol has the name in the body alone. Where a text holds such a name, the answer is a stream
            # instead of JSON, and that is all.
            body = await Request(scope, receive).body()
            receive = _replay(body, receive)
            is_streamed = any(b'"%b"' % name in body for name in self._streamed)
        else:
            is_streamed = named in self._streamed
        if not is_streamed:
            _json_for.set(asyncio.current_task())
        await self._handle_request(scope, receive, send)

    def _admit_session(self, requestor: Any) -> StreamableHTTPServerTransport | None:
        transport = super()._admit_session(requestor)
        if transport is not None:
            transport.__class__ = _Transport
        return transport


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever follows it."""
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
