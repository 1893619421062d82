"""How MCP answers travel: as plain JSON, but as an event stream for tools that take long and report progress.

The SDK knows one form for all answers of a server. JSON costs it less than half as much, and it is what the older
protocol's `initialize` was always answered with; progress can travel only on a stream.
"""

import asyncio
from collections.abc import Iterable
from contextvars import ContextVar
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.auth.provider import AccessToken
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic_core import from_json
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from app.errors import RateLimited
from app.models import Principal
from app.security.limits import RETRY_SEC
from app.tools.direct import DirectCalls

KEPT_USERS = 1000

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

    def touch(self) -> bool:
        """Whether the session lives; if so, its idle time begins anew."""
        scope = self.idle_scope
        if self.is_terminated or (scope is not None and scope.cancel_called):
            return False
        if scope is not None and self._idle_timeout is not None and not self._requests_in_flight:
            scope.deadline = anyio.current_time() + self._idle_timeout
        return True

    async def _handle_post_request(self, scope: Scope, request: Request, receive: Receive, send: Send) -> None:
        if _id_of(await request.body()) in self._request_streams:
            # The SDK would give one of the two both answers, and none to the other.
            text = "A request with this id is still being answered; every request of a session has an id of its own"
            await self._create_error_response(text, HTTPStatus.CONFLICT)(scope, receive, send)
            return
        await super()._handle_post_request(scope, request, receive, send)


class SessionManager(StreamableHTTPSessionManager):
    """The SDK's, with the form of each answer chosen by what is asked."""

    json_response = property(_answers_json, _ignore)

    def __init__(self, server: Server[Any], streamed: Iterable[str], direct: DirectCalls, **options: Any) -> None:
        """`streamed` are the names of the tools that report progress, `direct` takes calls of the others."""
        super().__init__(server, **options)
        self._streamed = tuple(streamed)
        self._direct = direct

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI app. The size of a body is bounded by whoever calls it."""
        if credential := scope["credential"]:
            scope["user"] = _user(credential)
        if scope["method"] != "POST":
            await self._handle_request(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        headers = scope["headers"]
        if call := self._direct.read(headers, body):
            session_id = None if call.is_modern else _header(headers, b"mcp-session-id")
            if call.is_modern or self._is_session_of(session_id, scope.get("user")):
                await self._direct.answer(call, session_id, scope, send)
                return
        # The older protocol has the name in the body alone. Where a text holds such a name, the answer is a stream
        # instead of JSON, and that is all.
        named = _header(headers, b"mcp-name")
        if not any(f'"{name}"'.encode() in body if named is None else named == name for name in self._streamed):
            _json_for.set(asyncio.current_task())
        await self._handle_request(scope, _replay(body, receive), send)

    def _is_session_of(self, session_id: str | None, user: Any) -> bool:
        """Whether a session lives and is this caller's; it then lives on."""
        transport = self._server_instances.get(session_id or "")
        owner = authorization_context(user) if isinstance(user, AuthenticatedUser) else None
        if not isinstance(transport, _Transport) or owner != self._session_owners.get(session_id or ""):
            return False
        return transport.touch()

    def _admit_session(self, requestor: Any) -> StreamableHTTPServerTransport | None:
        transport = super()._admit_session(requestor)
        if transport is None:
            # The SDK's own answer does not say what to do.
            raise RateLimited(
                f"As many MCP sessions are open as max_mcp_sessions allows ({self.max_sessions}). They end when their "
                "client ends them, or after half an hour without a call.",
                setting="max_mcp_sessions",
                retry_after_sec=RETRY_SEC,
            )
        transport.__class__ = _Transport
        return transport


def request_scope(ctx: ServerRequestContext) -> Scope:
    """The request that a message came with. A session's tasks are its creator's, so nothing is taken from them."""
    assert ctx.request is not None
    scope: Scope = ctx.request.scope
    return scope


def caller(ctx: ServerRequestContext) -> Principal:
    """Who sent a message."""
    principal: Principal = request_scope(ctx)["principal"]
    return principal


@lru_cache(KEPT_USERS)
def _user(credential: str) -> AuthenticatedUser:
    """By it the SDK binds a session: to the very credential that opened it."""
    return AuthenticatedUser(AccessToken(token="", client_id=credential, scopes=[]))


def _id_of(body: bytes) -> str | None:
    """The id of a request, as the SDK keeps it; None where it is none that could be answered."""
    try:
        message = from_json(body)
    except ValueError:
        return None
    return str(message.get("id")) if isinstance(message, dict) and "method" in message else None


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


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)
