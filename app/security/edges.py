"""The outermost layer of the app: refuses who may not come in, bounds what comes in, marks what goes out."""

from collections.abc import Mapping
from html import escape
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ErrorCode, PayloadTooLarge, error_body
from app.security.gate import SESSION_COOKIE
from app.security.hosts import MOST_CHARS, HostPolicy
from app.settings import Settings

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Answers that may be kept say so themselves.
    "Cache-Control": "no-store",
}
SAFE = ("GET", "HEAD", "OPTIONS")
MOST_DIGITS = 18
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
SINGLE = (b"host", b"origin", b"content-type", b"content-length", b"authorization")
"""Headers that decide. Two of one kind could mean one thing here and another behind."""
_SESSION = SESSION_COOKIE.encode() + b"="
_COME_AGAIN = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Relay Hub</title>
<script src="/static/js/again.js"></script>
<noscript><meta http-equiv="refresh" content="0; url=?{query}"></noscript>
</html>
"""
"""Without script, what stands behind # is lost: a browser that is sent to the same address asks for nothing."""


class Edges:
    """Plain ASGI middleware, so that it also covers /mcp, redirects, errors and what no route answers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._policy = HostPolicy(settings.allowed_hosts)
        self._max_body = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            # The first of each name, as the framework reads them.
            headers = dict(reversed(scope["headers"]))
            if refusal := self._refusal(scope, headers):
                await refusal(scope, receive, _marked(send))
                return
            # The server holds a body to its stated length.
            bounded = receive if b"content-length" in headers else self._bounded(receive)
            await self._app(_head_as_get(scope), bounded, _marked(send))

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
        host = headers.get(b"host", b"")[:MOST_CHARS].decode("latin-1")
        origin = headers[b"origin"][:MOST_CHARS].decode("latin-1") if b"origin" in headers else None
        if len(headers) != len(scope["headers"]) and (twice := _twice(scope)):
            text = f"The header {twice} comes more than once."
            return _refuse(400, ErrorCode.BAD_REQUEST, text, field=twice)
        if scope["path"][:1] != "/" or (b"transfer-encoding" in headers and b"content-length" in headers):
            text = "Ask for a path, and give the length of a body in one way."
            return _refuse(400, ErrorCode.BAD_REQUEST, text)
        if not self._policy.admits_host(host):
            text = f"Host {host!r} is not allowed. If you reach the hub under this name, add it to allowed_hosts."
            return _refuse(421, ErrorCode.HOST_NOT_ALLOWED, text, host=host, setting="allowed_hosts")
        if origin is not None and not self._policy.admits_origin(origin, host):
            text = f"Requests from pages of {origin!r} are not allowed. To trust that host, add it to allowed_hosts."
            return _refuse(403, ErrorCode.ORIGIN_NOT_ALLOWED, text, origin=origin, setting="allowed_hosts")
        if origin is None and headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            # Scripts, images and frames of other sites. Their browsers hide the answer; the question is too much.
            if scope["method"] != "GET" or headers.get(b"sec-fetch-dest") != b"document":
                text = (
                    "Pages of other sites may link to the hub, and nothing else. To trust one, add it to allowed_hosts."
                )
                return _refuse(403, ErrorCode.ORIGIN_NOT_ALLOWED, text, origin=None, setting="allowed_hosts")
            if headers[b"sec-fetch-site"] == b"cross-site":
                # Whoever follows such a link comes without cookies, for those are strict, and would seem to be logged
                # out. The page that comes again by itself has them.
                query = escape(scope["query_string"].decode("latin-1"))
                return Response(_COME_AGAIN.format(query=query), media_type="text/html")
        if origin is None and _media_type(headers) in FORMS and not scope["path"].startswith("/api/"):
            # Browsers name the origin of every form they send; the API takes JSON alone and says so itself.
            text = "Forms are taken from the hub's own pages only. Programs send JSON to /api."
            return _refuse(403, ErrorCode.ORIGIN_NOT_ALLOWED, text, origin=None, setting="allowed_hosts")
        if origin is None and scope["method"] not in SAFE and _SESSION in headers.get(b"cookie", b""):
            text = (
                "What changes something with the cookie of a login must come from the hub's own page, with its Origin."
            )
            return _refuse(403, ErrorCode.ORIGIN_NOT_ALLOWED, text, origin=None, setting="allowed_hosts")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > MOST_DIGITS or int(length) > self._max_body:
            return JSONResponse(self._too_large().as_json(), 413)
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """A body without a length is counted as it comes."""
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> PayloadTooLarge:
        text = f"The request body is larger than max_body_bytes allows ({self._max_body} bytes)"
        return PayloadTooLarge(text, setting="max_body_bytes")


def _head_as_get(scope: Scope) -> Scope:
    """HEAD is GET whose body the server leaves out. Streams have nothing but a body that never ends."""
    path = scope["path"]
    if scope["method"] == "HEAD" and not (path.startswith(("/live/", "/mcp")) or path.endswith("/events")):
        return {**scope, "method": "GET"}
    return scope


def _twice(scope: Scope) -> str | None:
    names = [name for name, _ in scope["headers"]]
    return next((name.decode() for name in SINGLE if names.count(name) > 1), None)


def _media_type(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()


def _refuse(status: int, code: ErrorCode, text: str, **details: Any) -> JSONResponse:
    return JSONResponse(error_body(code, text, details), status)


def _marked(send: Send) -> Send:
    """Every answer carries the headers that keep pages and their readers safe."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            present = {name for name, _ in headers}
            message["headers"] = headers + [pair for pair in _RAW if pair[0] not in present]
        await send(message)

    return marked
