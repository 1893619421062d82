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
        self._streamed = [f'"{name}"'.encode() for name in streamed]

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app."""
        if scope["method"] != "POST":
            await self.asgi_app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        # A tool's name in a text makes a stream where JSON would do, and no more than that.
        if not any(name in body for name in self._streamed):
            _json_for.set(asyncio.current_task())
        await self.asgi_app(scope, _replay(body, receive), send)

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
