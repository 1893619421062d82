"""The layer behind the edges: finds out who makes a request, and whether they have the right that its route needs."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import HubError, Unauthenticated
from app.models import LOCAL, NOBODY, OWNER
from app.models import Scope as Right
from app.security.principals import Principals
from app.security.tokens import NOTHING, digest_of, login_digest

SESSION_COOKIE = "relay_session"

FREE = frozenset({"/login", "/theme", "/healthz", "/register"})
FREE_FOLDERS = ("/static/", "/.well-known/")
"""What everybody gets."""
PROGRAMS = ("/api/", "/mcp", "/.well-known/", "/register")
"""Where programs come in; everything else is pages."""
MCP = frozenset({"/mcp", "/mcp/"})
"""Whoever is known may connect; each tool says what right it needs."""

WRITES: dict[str, Right | None] = {
    "/": Right.POST,
    "/channels/**": Right.POST,
    "/api/messages": Right.POST,
    "/dispatches/new": Right.DISPATCH,
    "/dispatches/*/cancel": Right.DISPATCH,
    "/dispatches/*/deliver": Right.DISPATCH,
    "/dispatches/*/recover": Right.DISPATCH,
    "/api/dispatches": Right.DISPATCH,
    "/api/dispatches/recover": Right.DISPATCH,
    "/api/dispatches/*/cancel": Right.DISPATCH,
    "/api/dispatches/*/deliver": Right.DISPATCH,
    "/api/dispatches/*/recover": Right.DISPATCH,
    "/approvals/*/approve": Right.APPROVE,
    "/approvals/*/deny": Right.APPROVE,
    "/api/approvals/*": Right.APPROVE,
    "/pauses/resume": Right.ADMIN,
    "/api/pauses/resume": Right.ADMIN,
    "/logout": None,
}
"""The right that a POST needs, by path; None: being known is enough. `*` is one part of a path, `**` all that is left.
Reading needs `read`. Any other request that a route would take is refused, whoever makes it."""

_SHAPES = [(path.split("/"), right) for path, right in WRITES.items() if "*" in path]
_COOKIE = SESSION_COOKIE.encode()


class Gate:
    """An ASGI app before an app. Leaves `principal` in the scope, and as `credential` the digest of what was shown."""

    def __init__(
        self,
        app: ASGIApp,
        principals: Principals,
        exists: Callable[[Scope], bool],
        failed: Callable[[Request, HubError], Awaitable[Response]],
    ) -> None:
        """`exists` tells whether the app has a route for a request, `failed` makes an answer of an error."""
        self._app = app
        self._principals = principals
        self._exists = exists
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if path in FREE or path.startswith(FREE_FOLDERS):
            scope["principal"] = NOBODY
            await self._app(scope, receive, send)
            return
        try:
            scope["credential"] = credential = _credential(scope)
            known = self._principals.fresh(credential) or await self._principals.look(credential)
            if not known.is_admitted:
                raise _unknown(scope)
            principal = known.principal or (LOCAL if path.startswith(PROGRAMS) else OWNER)
            scope["principal"] = principal
            if path not in MCP and (right := self._right(scope, method, path)) is not None:
                principal.require(right)
        except HubError as error:
            await self._refuse(error, scope, receive, send)
            return
        if method == "GET" or path in MCP:
            await self._serve_long(credential, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _right(self, scope: Scope, method: str, path: str) -> Right | None:
        """The right that a request needs; None if it needs none.

        Raises:
            Forbidden: nobody has said what right it needs.
        """
        if method in ("GET", "HEAD"):
            return Right.READ
        if method == "POST":
            if path in WRITES:
                return WRITES[path]
            parts = path.split("/")
            for shape, right in _SHAPES:
                if _fits(parts, shape):
                    return right
        if self._exists(scope):
            NOBODY.require(Right.ADMIN)
        return None  # the app says best why it has no answer

    async def _serve_long(self, credential: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, but only as long as the credential is good: streams and waits may outlive it."""
        task = asyncio.current_task()
        assert task is not None
        tasks = self._principals.served.setdefault(credential, set())
        is_begun = False

        async def noted(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        tasks.add(task)
        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if task in tasks:
                raise
            task.uncancel()
            if is_begun:
                await send({"type": "http.response.body"})
            else:
                await self._refuse(_unknown(scope), scope, receive, send)
        finally:
            tasks.discard(task)

    async def _refuse(self, error: HubError, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.url.path
        is_page = scope["method"] == "GET" and not path.startswith(PROGRAMS)
        if isinstance(error, Unauthenticated) and is_page and "text/html" in request.headers.get("accept", ""):
            asked = f"{path}?{request.url.query}" if request.url.query else path
            response: Response = RedirectResponse(f"/login?next={quote(asked, safe='/')}", 303)
        else:
            scope.setdefault("principal", NOBODY)
            response = await self._failed(request, error)
        await response(scope, receive, send)


def _credential(scope: Scope) -> str:
    """The digest of the token, or else of the login, that a request shows. Only browsers come with logins."""
    cookies = NOTHING.encode()
    for name, value in scope["headers"]:
        if name == b"authorization":
            return digest_of(value[7:].strip() if value[:7].lower() == b"bearer " else b"")
        if name == b"cookie" and _COOKIE in value:
            cookies = value
    if cookies and scope["path"] not in MCP:
        for cookie in cookies.split(b";"):
            key, _, value = cookie.strip().partition(b"=")
            if key == _COOKIE:
                return login_digest(value)
    return NOTHING


def _fits(parts: list[str], shape: list[str]) -> bool:
    if shape[-1] == "**":
        return len(parts) >= len(shape) and parts[: len(shape) - 1] == shape[:-1]
    return len(parts) == len(shape) and all(wanted in ("*", part) for wanted, part in zip(shape, parts, strict=True))


def _unknown(scope: Scope) -> Unauthenticated:
    shown = {name for name, _ in scope["headers"]}
    if b"authorization" in shown:
        return Unauthenticated(
            "This token is not valid: it is unknown, or it was revoked or replaced, or it has expired. On the hub's "
            "machine relay-hub token list shows those that are valid."
        )
    if scope["path"].startswith(PROGRAMS) and not scope.get("credential"):
        return Unauthenticated(
            "This hub wants to know who calls. Send a token in the header Authorization: Bearer <token>; on the hub's "
            "machine relay-hub token create NAME makes one."
        )
    return Unauthenticated("Log in first, at /login; or log in again, if your login has ended.")
