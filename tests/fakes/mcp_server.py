"""The MCP server that the conformance suite asks for: its tools, prompts and resources, by the names that it calls.

`tests.fakes.mcp_hub` puts it where a hub has its own, so that the suite can try everything that our endpoint carries.
The suite describes each scenario's needs itself, in its sources.
"""

import json
import re
import warnings
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import ListenHandler

from tests.fakes.mcp_tools import (
    IMAGE,
    NO_ARGUMENTS,
    PNG,
    SCHEMAS,
    TOOLS,
    Answer,
    Ctx,
    asked,
    bus,
    embedded,
    said,
    text,
)

NAME = "conformance"
RESOURCES = {
    "test://static-text": ("text/plain", "This is the content of the static text resource."),
    "test://static-binary": ("image/png", ""),
    "test://watched-resource": ("text/plain", "It never changes."),
}
TEMPLATE = re.compile("test://template/([^/]+)/data")


async def list_resources(_: Ctx, __: Any) -> types.ListResourcesResult:
    rows = [types.Resource(name=uri, uri=uri, mime_type=kind) for uri, (kind, _) in RESOURCES.items()]
    return types.ListResourcesResult(resources=rows)


async def list_templates(_: Ctx, __: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(name="template", uri_template="test://template/{id}/data")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(_: Ctx, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    if match := TEMPLATE.fullmatch(uri):
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        kind, content = "application/json", json.dumps(data)
    elif uri in RESOURCES:
        kind, content = RESOURCES[uri]
    else:
        raise MCPError(types.INVALID_PARAMS, f"There is no {uri}", {"uri": uri})
    if kind == "image/png":
        return types.ReadResourceResult(contents=[types.BlobResourceContents(uri=uri, mime_type=kind, blob=PNG)])
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=kind, text=content)])


PROMPTS = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}
CONTEXT_FORM = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}


async def list_prompts(_: Ctx, __: Any) -> types.ListPromptsResult:
    prompts = [
        types.Prompt(
            name=name,
            description="For the suite",
            arguments=[types.PromptArgument(name=argument, required=True) for argument in arguments],
        )
        for name, arguments in PROMPTS.items()
    ]
    return types.ListPromptsResult(prompts=prompts)


async def get_prompt(_: Ctx, params: types.GetPromptRequestParams) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    content: list[Any] = []
    match params.name:
        case "test_simple_prompt":
            content = [text("This is a simple prompt for testing.")]
        case "test_prompt_with_arguments":
            content = [text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
        case "test_prompt_with_embedded_resource":
            resource = embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
            content = [resource, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            content = [IMAGE, text("Please analyze the image above.")]
        case "test_input_required_result_prompt" if not params.input_responses:
            wanted = asked("What context should the prompt use?", CONTEXT_FORM)
            return types.InputRequiredResult(input_requests={"user_context": wanted})
        case "test_input_required_result_prompt":
            content = [text("in this context")]
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=each) for each in content])


def conformance_server() -> Server[Any]:
    """The whole server, for a transport."""

    async def list_tools(_: Ctx, __: Any) -> types.ListToolsResult:
        tools = [
            types.Tool(name=name, description="For the suite", input_schema=SCHEMAS.get(name, NO_ARGUMENTS))
            for name in TOOLS
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
        return await TOOLS.get(params.name, said(text("There is no such tool"), is_error=True))(ctx, params)

    async def done(_: Ctx, __: Any) -> types.EmptyResult:
        return types.EmptyResult()

    async def complete(_: Ctx, __: Any) -> types.CompleteResult:
        return types.CompleteResult(completion=types.Completion(values=["paris", "park"], total=2, has_more=False))

    with warnings.catch_warnings(action="ignore"):
        # The SDK warns of log levels, which only the older protocol has.
        server = Server(
            NAME,
            version="1",
            get_tool_input_schema=lambda name: SCHEMAS.get(name, NO_ARGUMENTS),
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            on_list_resources=list_resources,
            on_list_resource_templates=list_templates,
            on_read_resource=read_resource,
            on_subscribe_resource=done,
            on_unsubscribe_resource=done,
            on_subscriptions_listen=ListenHandler(bus),
            on_list_prompts=list_prompts,
            on_get_prompt=get_prompt,
            on_completion=complete,
            on_set_logging_level=done,
        )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server
