"""What the hub offers to agents. Importing this does not import the MCP SDK."""

from app.hub import Hub
from app.tools import chat, dispatches, relay
from app.tools.tool import Tool


def tools(hub: Hub) -> list[Tool]:
    """All tools of a hub, in the order in which they are listed."""
    return [*chat.tools(hub), *relay.tools(hub), *dispatches.tools(hub)]
