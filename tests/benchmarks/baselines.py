"""What the hub is held against: the same uvicorn with next to nothing in it, in a process of its own.

It starts, says where it listens and stops as a hub does, so that `tests.support.hub` runs it too. Kinds:

- `http`: `/empty`, a FastAPI route as one writes it, that answers {}; `/insert`, one autocommit INSERT with the sqlite3
  module, as durable as the hub's own
- `mcp`, `mcp-json`: the SDK with an empty tool; the second answers in JSON alone, never as a stream
"""

import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server as McpServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.support.hub import HubProcess, Hubs

TOOL = "post_message"


def baseline(hubs: Hubs, kind: str) -> HubProcess:
    """A running baseline."""
    return hubs(command=(sys.executable, "-m", "tests.benchmarks.baselines", kind))


def http_app() -> ASGIApp:
    app = FastAPI()
    folder = Path(os.environ["RELAY_HUB_DATA_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(folder / "baseline.db", isolation_level=None)
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE message (id INTEGER PRIMARY KEY, ts REAL, target TEXT, sender TEXT, text TEXT)",
    ):
        database.execute(statement)

    @app.post("/empty")
    async def empty() -> dict[str, str]:
        return {}

    async def insert(request: Request) -> Response:
        row = await request.json()
        # On the loop itself: for one connection nothing is faster.
        cursor = database.execute(
            "INSERT INTO message (ts, target, sender, text) VALUES (unixepoch(), :target, :sender, :text)", row
        )
        return JSONResponse({"id": cursor.lastrowid}, 201)

    # Without FastAPI's own share: what is measured is the disk.
    app.router.routes.append(Route("/insert", insert, methods=["POST"]))
    return app


def mcp_app(*, json_response: bool) -> ASGIApp:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ("target", "sender", "text")}}
    listed = types.ListToolsResult(tools=[types.Tool(name=TOOL, input_schema=schema)])

    async def list_tools(_: ServerRequestContext, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return listed

    async def call_tool(_: ServerRequestContext, __: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=[types.TextContent(text="ok")])

    server: McpServer[Any] = McpServer(
        "baseline",
        # Without it the SDK lists the tools on each call of the newer era.
        get_tool_input_schema=lambda name: schema,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    return server.streamable_http_app(
        json_response=json_response,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


KINDS: dict[str, Callable[[], ASGIApp]] = {
    "http": http_app,
    "mcp": lambda: mcp_app(json_response=False),
    "mcp-json": lambda: mcp_app(json_response=True),
}


class Server(uvicorn.Server):
    """Uvicorn that starts and stops as the hub does."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        # The words that HubProcess waits for.
        print(f"Relay Hub is listening on http://127.0.0.1:{port}", flush=True)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop with exit code 0, where uvicorn would end by the signal."""
        self.should_exit = True


if __name__ == "__main__":
    # Called like a hub: "KIND serve --port 0".
    config = uvicorn.Config(KINDS[sys.argv[1]](), port=0, access_log=False, log_level="warning", server_header=False)
    Server(config).run()
