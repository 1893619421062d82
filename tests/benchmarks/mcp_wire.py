"""MCP requests of both wire eras, as Claude Code and Codex send them."""

import re
from collections.abc import Mapping
from typing import Any

from tests.benchmarks.wire import post

LEGACY, MODERN = "legacy", "2026-07-28"
"""The era with sessions, and the one without."""
LEGACY_VERSION = "2025-11-25"
SESSION = "{session}"
"""Stands in a request for the session that the server gave out."""

_SESSION_HEADER = re.compile(rb"\r\nmcp-session-id: *(\S+)", re.IGNORECASE)
_CLIENT = {"name": "bench", "version": "1"}


def opening(era: str, path: str) -> list[str]:
    """What a connection must send, in order, before it can call tools. Nothing in the era without sessions."""
    if era == MODERN:
        return []
    hello = {"protocolVersion": LEGACY_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
    return [
        post(path, _rpc("initialize", hello), Accept="application/json, text/event-stream"),
        post(path, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **_headers(LEGACY, "")),
    ]


def call(era: str, path: str, tool: str, arguments: Mapping[str, Any]) -> str:
    """A call of a tool. Both clients offer to take its progress, so this does too."""
    meta: dict[str, Any] = {"progressToken": 1}
    if era == MODERN:
        prefix = "io.modelcontextprotocol/"
        meta |= {f"{prefix}protocolVersion": MODERN, f"{prefix}clientCapabilities": {}, f"{prefix}clientInfo": _CLIENT}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return post(path, _rpc("tools/call", params), **_headers(era, tool))


def session_of(head: bytes) -> str | None:
    """The session that an answer's head gives out."""
    found = _SESSION_HEADER.search(head)
    return found[1].decode() if found else None


def _headers(era: str, tool: str) -> dict[str, str]:
    accept = {"Accept": "application/json, text/event-stream"}
    if era == LEGACY:
        return accept | {"MCP_Protocol_Version": LEGACY_VERSION, "MCP_Session_Id": SESSION}
    return accept | {"MCP_Protocol_Version": era, "MCP_Method": "tools/call", "MCP_Name": tool}


def _rpc(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
