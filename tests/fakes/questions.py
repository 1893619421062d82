"""Everything that an app-server can ask, as the real one of Codex 0.169 says it."""

from typing import Any

PATCH = "@@ -1,2 +1,2 @@\n-old\n+new\n same\n"
FILES = [
    {"path": "/srv/p/new.txt", "kind": {"type": "add"}, "diff": "hello\n"},
    {"path": "/srv/p/code.py", "kind": {"type": "update", "move_path": None}, "diff": PATCH},
]
TOOL_META = {
    "codex_approval_kind": "mcp_tool_call",
    "persist": ["session", "always"],
    "tool_name": "shout",
    "tool_description": "",
    "tool_params": {"text": "hi"},
    "tool_params_display": [{"name": "text", "value": "hi", "display_name": "text"}],
}
FORM = {
    "type": "object",
    "properties": {
        "age": {"type": "integer", "title": "Your age", "minimum": 0, "maximum": 150},
        "agree": {"type": "boolean", "description": "To the terms."},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "blue"},
        "name": {"type": "string", "title": "Your name", "minLength": 2},
        "size": {"type": "string", "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["one", "two", "three"]}, "maxItems": 2},
        "weight": {"type": "number"},
    },
    "required": ["age", "name"],
}
QUESTIONS = [
    {
        "id": "color",
        "header": "Color",
        "question": "Which color?",
        "isOther": True,
        "isSecret": False,
        "options": [{"label": "Red", "description": "like fire"}, {"label": "Blue", "description": "like the sea"}],
    },
    {"id": "pass", "header": "Pass", "question": "Say the word", "isOther": False, "isSecret": True, "options": None},
]


def _command(command: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "command",
        "itemId": "c1",
        "startedAtMs": 1,
        "environmentId": "local",
        "command": f"/bin/bash -lc '{command}'",
        "cwd": "/srv/p",
        "commandActions": [{"type": "unknown", "command": command}],
        "proposedExecpolicyAmendment": command.split(),
        "availableDecisions": ["accept", "cancel"],
        **more,
    }


def _elicitation(**more: Any) -> dict[str, Any]:
    return {"serverName": "echo", "mode": "form", "message": "Who are you?", "_meta": None, **more}


COMMANDS = {
    "push": "git push origin main",
    "status": "git status",
    "sneaky": "git status; curl evil",
    "huge": "x" * 300_000,
    "odd": "echo \u202e\x1b[31mhi",
}


def asked(name: str, where: dict[str, str]) -> tuple[str, dict[str, Any], dict[str, Any] | None]:
    """Method, parameters, and the item that begins before, of a question."""
    item: dict[str, Any] | None = None
    match name:
        case "command":
            method = "item/commandExecution/requestApproval"
            params: dict[str, Any] = {"itemId": "c1", "command": "ls", "cwd": "/srv/p", "reason": "to look around"}
        case "files":
            method, params = "item/fileChange/requestApproval", {"itemId": "f1", "reason": None, "grantRoot": None}
            item = {"type": "fileChange", "id": "f1", "changes": FILES, "status": "inProgress"}
        case "nofiles":
            method, params = "item/fileChange/requestApproval", {"itemId": "f2", "reason": None}
        case "permissions":
            method = "item/permissions/requestApproval"
            wanted = {"network": {"enabled": True}, "fileSystem": None}
            params = {"itemId": "p1", "cwd": "/srv/p", "reason": "to fetch", "permissions": wanted}
        case "input":
            method, params = "item/tool/requestUserInput", {"itemId": "q1", "questions": QUESTIONS, "isBlocking": True}
        case "form":
            method, params = "mcpServer/elicitation/request", _elicitation(requestedSchema=FORM)
        case "url":
            url = {"mode": "url", "message": "Log in there", "url": "https://example.com/x", "elicitationId": "e1"}
            method, params = "mcpServer/elicitation/request", _elicitation(**url)
        case "strange":
            method, params = "mcpServer/elicitation/request", _elicitation(mode="openai/form", requestedSchema={"a": 1})
        case "tool":
            empty = {"type": "object", "properties": {}}
            message = 'Allow the echo MCP server to run tool "shout"?'
            method = "mcpServer/elicitation/request"
            params = _elicitation(_meta=TOOL_META, message=message, requestedSchema=empty)
            item = {"type": "mcpToolCall", "id": "t1", "server": "echo", "tool": "shout", "arguments": {"text": "hi"}}
        case "unknown":
            method, params = "item/tool/call", {"itemId": "u1"}
        case "foreign":
            method, params = "item/commandExecution/requestApproval", _command("ls") | {"turnId": "another turn"}
            return method, where | params, None
        case _:
            method, params = "item/commandExecution/requestApproval", _command(COMMANDS[name])
    return method, params | where, item
