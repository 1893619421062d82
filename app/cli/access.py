"""The access log on standard error: one line for each request, but for those that come all the time."""

import asyncio
import sys
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.visible import printable

QUIET_PATHS = frozenset({"/", "/api/messages", "/api/channels", "/api/events", "/healthz", "/docs", "/openapi.json"})
QUIET_FOLDERS = ("/static/", "/live/", "/api/messages/")
"""What pollers and pages ask all the time; their lines would hide the others."""


class AccessLog:
    """ASGI middleware. Each request decides for itself, so that requests which overlap cannot confuse it.

    Agents that wait and post write many lines. Those of one turn of the event loop are written together.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET_PATHS or scope["path"].startswith(QUIET_FOLDERS):
            await self._app(scope, receive, send)
            return

        async def logged(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._write(scope, message["status"])
            await send(message)

        await self._app(scope, receive, logged)

    def _write(self, scope: Scope, status: int) -> None:
        client = "{}:{}".format(*scope["client"]) if scope.get("client") else "-"
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        asked = printable(f"{scope['method']} {target.decode('latin-1')} HTTP/{scope['http_version']}")
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self._waiting.append(f'{now} INFO relay_hub.access: {client} - "{asked}" {status}\n')
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        sys.stderr.write("".join(lines))
        sys.stderr.flush()
