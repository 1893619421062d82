"""The MCP endpoint as a part of the app: the SDK is imported while the hub answers already.

It takes as long to import as everything else together; only MCP clients wait for it, once.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from app.hub import Hub
from app.tools.tool import Tool

if TYPE_CHECKING:
    from app.tools.transport import SessionManager

logger = logging.getLogger("relay_hub.mcp")


class McpEndpoint:
    """An ASGI app for `/mcp`. It answers while `run` is entered."""

    def __init__(self, hub: Hub, tools: Sequence[Tool]) -> None:
        self._hub = hub
        self._tools = tools

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        self._ready: asyncio.Future[SessionManager] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        serving = asyncio.create_task(self._serve(stop))
        try:
            yield
        finally:
            stop.set()
            await serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        manager = self._ready.result() if self._ready.done() else await asyncio.shield(self._ready)
        await manager.answer(_trimmed(scope), receive, send)

    async def _serve(self, stop: asyncio.Event) -> None:
        try:
            server = await asyncio.to_thread(importlib.import_module, "app.tools.server")
            manager: SessionManager = server.session_manager(self._hub, self._tools)
            async with manager.run():
                self._ready.set_result(manager)
                await stop.wait()
        except Exception as error:
            logger.exception("MCP cannot be served")
            if not self._ready.done():
                self._ready.set_exception(error)
                self._ready.exception()  # it is logged; each request raises it again


def _trimmed(scope: Scope) -> Scope:
    """Blanks around a header's value are no part of it; the server below leaves those that follow, and the SDK compares
    some headers with the body."""
    headers = scope["headers"]
    if any(value.endswith((b" ", b"\t")) for _, value in headers):
        return {**scope, "headers": [(name, value.rstrip(b" \t")) for name, value in headers]}
    return scope
