"""The MCP server: lists the tools, runs them, and turns every failure into an answer that both clients can show.

It is built on the SDK's low-level server. The high-level one words argument errors for programmers, and hides the
data of an error from the model.
"""

import logging
from collections.abc import Sequence
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from pydantic import ValidationError

from app import __version__
from app.errors import HubError, InternalError, NotFound
from app.hub import Hub
from app.schemas import explain
from app.tools import chat, relay
from app.tools.tool import Answer, Tool

INSTRUCTIONS = """\
Relay Hub connects agents on this machine.
Channels: post_message to tell others, fetch_messages with the last latest_id to read on.
Codex threads: relay_dispatch sends work into a thread of a trusted project and waits for the reply; use \
relay_dispatch_async for long work and relay_dispatch_status to look.
Errors carry a relayCode and say what to do; retryable ones are worth another try."""

MAX_SESSIONS = 500

logger = logging.getLogger("relay_hub.mcp")


def tools(hub: Hub) -> list[Tool]:
    """All tools of a hub, in the order in which they are listed."""
    return [*chat.tools(hub), *relay.tools(hub)]


def session_manager(hub: Hub, offered: Sequence[Tool]) -> StreamableHTTPSessionManager:
    """The MCP endpoint of a hub; its `asgi_app` answers once its `run()` is entered."""
    tools = {tool.name: tool for tool in offered}
    listed = types.ListToolsResult(tools=[_listed(tool) for tool in tools.values()])

    async def list_tools(_: ServerRequestContext, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return listed

    async def call_tool(ctx: ServerRequestContext, params: types.CallToolRequestParams) -> types.CallToolResult:
        async def progress(seconds: float) -> None:
            await ctx.session.report_progress(seconds, None, f"still at work after {seconds:.0f} s")

        try:
            tool = tools.get(params.name)
            if tool is None:
                raise NotFound(f"Unknown tool: {params.name}", tools=sorted(tools))
            given = tool.input.model_validate(params.arguments or {})
            return _result(await tool.run(given, progress))
        except ValidationError as error:
            return _error(explain(error))
        except HubError as error:
            return _error(error)
        except Exception:
            logger.exception("tool %s failed", params.name)
            return _error(InternalError(f"{params.name} failed inside the hub; its log says why."))

    server = Server(
        "relay-hub",
        version=__version__,
        title="Relay Hub",
        instructions=INSTRUCTIONS,
        # Without it the SDK lists all tools on each call of the newer protocol to look one up.
        get_tool_input_schema=lambda name: tools[name].schema if name in tools else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    # Host and Origin are checked for the whole app; the SDK's own check would be a second, laxer one.
    return StreamableHTTPSessionManager(
        server, max_request_body_size=hub.settings.max_body_bytes, max_sessions=MAX_SESSIONS
    )


def _listed(tool: Tool) -> types.Tool:
    # Codex refuses a tool that is neither read-only nor both harmless and closed-world.
    hints = types.ToolAnnotations(read_only_hint=tool.read_only, destructive_hint=False, open_world_hint=False)
    return types.Tool(name=tool.name, description=tool.description, input_schema=tool.schema, annotations=hints)


def _result(answer: Answer) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=answer.text)], structured_content=answer.payload)


def _error(error: HubError) -> types.CallToolResult:
    """Claude Code shows a model the text of an error, Codex the structured content: both say everything."""
    data: dict[str, Any] = error.as_structured()
    text = f"[{error.code.value}] {error.message}"
    return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=data, is_error=True)
