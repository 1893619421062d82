"""The tools that the conformance suite calls by name; the rest of its server is `tests.fakes.mcp_server`."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged

Ctx = ServerRequestContext[Any]
Answer = types.CallToolResult | types.InputRequiredResult
Tool = Callable[[Ctx, types.CallToolRequestParams], Awaitable[Answer]]

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()
WAV = base64.b64encode(
    bytes.fromhex("524946462400000057415645666d74201000000001000100401f0000401f00000100080064617461") + bytes(4)
).decode()
PAUSE_SEC = 0.05
"""The suite wants to see that notifications come one by one."""

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
NAME_FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CONFIRM_FORM = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
CHOICES = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
FORMS: dict[str, dict[str, Any]] = {
    "test_elicitation": {"username": {"type": "string"}, "email": {"type": "string"}},
    "test_elicitation_sep1034_defaults": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
    "test_elicitation_sep1330_enums": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": CHOICES},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": CHOICES}},
    },
}
STREAMED = ("test_tool_with_logging", "test_tool_with_progress", "test_sampling", *FORMS)
"""Tools that say or ask something before they answer."""

ADDRESS = {"$anchor": "address", "type": "object", "properties": {"street": {"type": "string"}}}
SCHEMAS: dict[str, dict[str, Any]] = {
    "test_sampling": {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
    "test_elicitation": {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]},
    "test_header": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": ADDRESS},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
}

bus = InMemorySubscriptionBus()


def text(value: str) -> types.TextContent:
    return types.TextContent(text=value)


def embedded(uri: str, kind: str, content: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=kind, text=content))


IMAGE = types.ImageContent(data=PNG, mime_type="image/png")


def said(*content: Any, is_error: bool = False) -> Tool:
    """A tool that always answers the same."""

    async def tool(_: Ctx, __: types.CallToolRequestParams) -> Answer:
        return types.CallToolResult(content=list(content), is_error=is_error)

    return tool


async def logging(ctx: Ctx, _: types.CallToolRequestParams) -> Answer:
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", line)
        await asyncio.sleep(PAUSE_SEC)
    return types.CallToolResult(content=[text("logged")])


async def progress(ctx: Ctx, _: types.CallToolRequestParams) -> Answer:
    for percent in (0, 50, 100):
        await ctx.session.report_progress(percent, 100)
        await asyncio.sleep(PAUSE_SEC)
    return types.CallToolResult(content=[text("done")])


async def sampling(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    question = types.SamplingMessage(role="user", content=text((params.arguments or {})["prompt"]))
    answer = await ctx.session.create_message([question], max_tokens=100, related_request_id=ctx.request_id)
    return types.CallToolResult(content=[text(f"LLM response: {getattr(answer.content, 'text', '')}")])


async def elicitation(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    properties = FORMS[params.name]
    form = {"type": "object", "properties": properties, "required": list(properties)}
    message = (params.arguments or {}).get("message", "Please tell")
    answer = await ctx.session.elicit_form(message, form, related_request_id=ctx.request_id)
    return types.CallToolResult(content=[text(f"Elicitation completed: action={answer.action}, {answer.content}")])


def asked(message: str, form: dict[str, Any]) -> types.ElicitRequest:
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=form))


def sampled(message: str, max_tokens: int = 100) -> types.CreateMessageRequest:
    messages = [types.SamplingMessage(role="user", content=text(message))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=max_tokens))


ROOTS = types.ListRootsRequest(params=types.RequestParams())
QUESTIONS: dict[str, list[dict[str, types.InputRequest]]] = {
    "test_input_required_result_elicitation": [{"user_name": asked("What is your name?", NAME_FORM)}],
    "test_input_required_result_sampling": [{"capital_question": sampled("What is the capital of France?")}],
    "test_input_required_result_list_roots": [{"client_roots": ROOTS}],
    "test_input_required_result_request_state": [{"confirm": asked("Please confirm", CONFIRM_FORM)}],
    "test_input_required_result_tampered_state": [{"confirm": asked("Please confirm", CONFIRM_FORM)}],
    "test_input_required_result_multiple_inputs": [
        {
            "user_name": asked("What is your name?", NAME_FORM),
            "greeting": sampled("Generate a greeting", 50),
            "client_roots": ROOTS,
        }
    ],
    "test_input_required_result_multi_round": [
        {"step1": asked("Step 1: What is your name?", NAME_FORM)},
        {"step2": asked("Step 2: What is your favorite color?", NAME_FORM)},
    ],
}
"""What a tool wants to know before it answers, round by round. The round is the state that the client carries."""


async def questioning(_: Ctx, params: types.CallToolRequestParams) -> Answer:
    rounds = QUESTIONS[params.name]
    current = int(params.request_state or 0)
    if rounds[current].keys() <= (params.input_responses or {}).keys():
        current += 1
    if current == len(rounds):
        return types.CallToolResult(content=[text("state-ok")])
    return types.InputRequiredResult(input_requests=rounds[current], request_state=str(current))


async def asks_what_it_may(ctx: Ctx, _: types.CallToolRequestParams) -> Answer:
    declared = ctx.session.client_capabilities
    requests: dict[str, types.InputRequest] = {}
    if declared and declared.sampling:
        requests["sampling"] = sampled("Generate a greeting")
    if declared and declared.elicitation:
        requests["elicitation"] = asked("What is your name?", NAME_FORM)
    return types.InputRequiredResult(input_requests=requests, request_state="0")


async def needs_sampling(ctx: Ctx, _: types.CallToolRequestParams) -> Answer:
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    if not ctx.session.check_client_capability(needed):
        data = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs the client's sampling", data)
    return types.CallToolResult(content=[text("sampling is there")])


def changes(event: ToolsListChanged | PromptsListChanged) -> Tool:
    async def tool(_: Ctx, __: types.CallToolRequestParams) -> Answer:
        await bus.publish(event)
        return types.CallToolResult(content=[text("told")])

    return tool


TOOLS: dict[str, Tool] = {
    "test_simple_text": said(text("This is a simple text response for testing.")),
    "test_image_content": said(IMAGE),
    "test_audio_content": said(types.AudioContent(data=WAV, mime_type="audio/wav")),
    "test_embedded_resource": said(
        embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ),
    "test_multiple_content_types": said(
        text("Multiple content types test:"),
        IMAGE,
        embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ),
    "test_error_handling": said(text("This tool intentionally returns an error for testing"), is_error=True),
    "test_tool_with_logging": logging,
    "test_logging_tool": logging,
    "test_tool_with_progress": progress,
    "test_sampling": sampling,
    "test_streaming_elicitation": said(text("nothing to ask")),
    "test_input_required_result_capabilities": asks_what_it_may,
    "test_missing_capability": needs_sampling,
    "test_trigger_tool_change": changes(ToolsListChanged()),
    "test_trigger_prompt_change": changes(PromptsListChanged()),
    "test_header": said(text("header and argument agree")),
    "json_schema_2020_12_tool": said(text("its schema is what counts")),
    **dict.fromkeys(FORMS, elicitation),
    **dict.fromkeys(QUESTIONS, questioning),
}
