"""A hub like any other, whose MCP server is the conformance suite's instead of ours: `python -m tests.fakes.mcp_hub`.

Everything between the socket and the server is the hub's: its edges, its routes, its endpoint and its transport.
"""

from typing import NoReturn

from app.__main__ import main
from app.hub import Hub
from app.tools import server
from app.tools.direct import DirectCalls
from app.tools.transport import SessionManager
from tests.fakes.mcp_server import conformance_server
from tests.fakes.mcp_tools import STREAMED


def session_manager(hub: Hub, *_: object) -> SessionManager:
    return SessionManager(
        conformance_server(),
        streamed=STREAMED,
        direct=DirectCalls((), _nothing, {}),
        max_request_body_size=hub.settings.max_body_bytes,
        max_sessions=100,
    )


async def _nothing(*_: object) -> NoReturn:
    raise AssertionError("no tool of the fixtures is called directly")


if __name__ == "__main__":
    server.session_manager = session_manager
    raise SystemExit(main())
