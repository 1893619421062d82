"""The MCP server: lists the tools, runs them, and turns every failure into an answer that both clients can show.

It is built on the SDK's low-level server. The high-level one words argument errors for programmers, and hides the
data of an error from the model.
"""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from pydantic import ValidationError
from starlette.types import Scope

from app import __version__
from app.errors import HubError, InternalError, NotFound
from app.hub import Hub
from app.models import Principal
from app.schemas import explain
from app.tools.direct import DirectCalls
from app.tools.resources import Resources
from app.tools.tool import Answer, Call, Tick, Tool
from app.tools.transport import SessionManager, caller, request_scope

INSTRUCTIONS = """\
Relay Hub connects agents on this machine.
Channels: post_message tells others. To do what others ask, repeat: wait_for_messages(target, reader=your name), do \
it, ack_messages(target, reader, up_to_id=latest_id). What you do not ack comes again, also after a restart.
fetch_messages reads a channel by a cursor of your own; search_messages finds what was said in any channel.
While has_more, there is more to read. A text with rest was cut; rest is the call that reads on.
Codex threads: relay_dispatch sends work into a thread of a trusted project and waits for the reply; use \
relay_dispatch_async for long work and relay_dispatch_status to look.
Errors carry a relayCode and say what to do; retryable ones are worth another try."""

MAX_THREAD_ID = 200

logger = logging.getLogger("relay_hub.mcp")


def session_manager(hub: Hub, offered: Sequence[Tool]) -> SessionManager:
    """The MCP endpoint of a hub; its `answer` is the ASGI app, once its `run()` is entered."""
    tools = {tool.name: tool for tool in offered}
    resources = Resources(hub)
    listed, listed_for_named = (
        types.ListToolsResult(tools=[_listed(tool, is_named) for tool in tools.values()]) for is_named in (False, True)
    )

    async def list_tools(ctx: ServerRequestContext, _: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return listed_for_named if caller(ctx).name else listed

    async def call_tool(ctx: ServerRequestContext, params: types.CallToolRequestParams) -> types.CallToolResult:
        async def tick(seconds: float, note: str | None = None) -> None:
            still = f"still at work after {seconds:.0f} s"
            await ctx.session.report_progress(seconds, None, f"{still}: {note}" if note else still)

        return types.CallToolResult.model_validate(await run(params, request_scope(ctx), tick))

    async def run(params: types.CallToolRequestParams, scope: Scope, tick: Tick = _untold) -> dict[str, Any]:
        try:
            tool = tools.get(params.name)
            if tool is None:
                raise NotFound(f"Unknown tool: {params.name}", tools=sorted(tools))
            principal: Principal = scope["principal"]
            principal.require(tool.scope)
            arguments = params.arguments or {}
            if tool.caller and principal.name and not arguments.get(tool.caller):
                arguments = {**arguments, tool.caller: principal.name}
            given = tool.input.model_validate(arguments)
            with scope["streams"].one() if tool.waits else nullcontext():
                return _result(await tool.run(given, Call(tick, principal, _calling_thread(params))))
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
        direct=DirectCalls([tool.name for tool in offered if not tool.waits], run, server.server_info_stamp),
        max_request_body_size=hub.settings.max_body_bytes,
        max_sessions=hub.settings.max_mcp_sessions,
    )


def _calling_thread(params: types.CallToolRequestParams) -> str | None:
    thread_id = (params.meta or {}).get("threadId")
    return thread_id if isinstance(thread_id, str) and len(thread_id) <= MAX_THREAD_ID else None


def _listed(tool: Tool, is_named: bool) -> types.Tool:
    schema = tool.schema
    if is_named and tool.caller:
        schema = {**schema, "required": [name for name in schema["required"] if name != tool.caller]}
    # Codex refuses a tool that is neither read-only nor both harmless and closed-world.
    hints = types.ToolAnnotations(read_only_hint=tool.read_only, destructive_hint=False, open_world_hint=False)
    return types.Tool(name=tool.name, description=tool.description, input_schema=schema, annotations=hints)


def _result(answer: Answer) -> dict[str, Any]:
    return _wire(answer.text, answer.payload)


def _error(error: HubError) -> dict[str, Any]:
    """Claude Code shows a model the text of an error, Codex the structured content: both say everything."""
    return _wire(f"[{error.code.value}] {error.message}", error.as_structured(), is_error=True)


def _wire(text: str, payload: dict[str, Any], is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "structuredContent": payload, "isError": is_error}


async def _untold(_: float, __: str | None = None) -> None:
    """A tool that does not wait has nothing to tell meanwhile."""
