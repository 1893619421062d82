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
from pydantic import ValidationError

from app import __version__
from app.errors import HubError, InternalError, NotFound
from app.hub import Hub
from app.schemas import explain
from app.tools.resources import Resources
from app.tools.tool import Answer, Call, Tool
from app.tools.transport import SessionManager

INSTRUCTIONS = """\
Relay Hub connects agents on this machine.
Channels: post_message tells others. To do what others ask, repeat: wait_for_messages(target, reader=your name), do \
it, ack_messages(target, reader, up_to_id=latest_id). What you do not ack comes again, also after a restart.
fetch_messages reads a channel by a cursor of your own; search_messages finds what was said in any channel.
While has_more, there is more to read. A text with rest was cut; rest is the call that reads on.
Codex threads: relay_dispatch sends work into a thread of a trusted project and waits for the reply; use \
relay_dispatch_async for long work and relay_dispatch_status to look.
Errors carry a relayCode and say what to do; retryable ones are worth another try."""

MAX_SESSIONS = 2000
MAX_THREAD_ID = 200

logger = logging.getLogger("relay_hub.mcp")


def session_manager(hub: Hub, offered: Sequence[Tool]) -> SessionManager:
    """The MCP endpoint of a hub; its `answer` is the ASGI app, once its `run()` is entered."""
    tools = {tool.name: tool for tool in offered}
    resources = Resources(hub)
    listed = types.ListToolsResult(tools=[_listed(tool) for tool in tools.values()])

    async def list_tools(_: ServerRequestContext, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return listed

    async def call_tool(ctx: ServerRequestContext, params: types.CallToolRequestParams) -> types.CallToolResult:
        async def tick(seconds: float, note: str | None = None) -> None:
            still = f"still at work after {seconds:.0f} s"
            await ctx.session.report_progress(seconds, None, f"{still}: {note}" if note else still)

        try:
            tool = tools.get(params.name)
            if tool is None:
                raise NotFound(f"Unknown tool: {params.name}", tools=sorted(tools))
            given = tool.input.model_validate(params.arguments or {})
            return _result(await tool.run(given, Call(tick, _calling_thread(params))))
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
        # By it the SDK finds arguments that travel in headers too. None of ours do, and looking is a tenth of a call.
        get_tool_input_schema=lambda _: None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources.list,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read,
    )
    # It ships with tracing, which nobody collects here and which every call would pay for.
    server.middleware.clear()
    # Host and Origin are checked for the whole app; the SDK's own check would be a second, laxer one.
    return SessionManager(
        server,
        streamed=[tool.name for tool in offered if tool.waits],
        max_request_body_size=hub.settings.max_body_bytes,
        max_sessions=MAX_SESSIONS,
    )


def _calling_thread(params: types.CallToolRequestParams) -> str | None:
    thread_id = (params.meta or {}).get("threadId")
    return thread_id if isinstance(thread_id, str) and len(thread_id) <= MAX_THREAD_ID else None


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
