"""Servers that only these tests need."""

from collections.abc import Iterator

import pytest
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from tests.support.serving import serving


@pytest.fixture
def echo_server() -> Iterator[str]:
    """The URL of an MCP server with one tool, `echo`; it stands for the hub where only a client is tested."""
    server = MCPServer("echo", subscriptions=False)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def echo(text: str) -> str:
        """Say it again."""
        return f"heard: {text}"

    with serving(server.streamable_http_app()) as served:
        yield served.url
