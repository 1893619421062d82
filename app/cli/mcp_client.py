"""Speaks to a running hub as an agent does: the few messages of the MCP without sessions.

The official client takes four times as long to import as a call takes; a command is to answer at once.
"""

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from app import __version__

PROTOCOL = "2026-07-28"
CONNECT_SEC = 5
SILENCE_SEC = 300
"""The longest silence of a hub that is at work: whoever waits longer hears from it every few seconds."""

_META = {
    "progressToken": 1,
    "io.modelcontextprotocol/protocolVersion": PROTOCOL,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "relay-hub call", "version": __version__},
}


class CallFailed(Exception):
    """A call went wrong: the hub's error as it came, or that there was no hub to answer."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})


class McpClient:
    """A connection to the hub at `url`; closed at the end of the block."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """
        Raises:
            CallFailed: the URL is none.
        """
        self.url = url.rstrip("/").removesuffix("/mcp")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            port, parts = None, urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
            raise CallFailed(
                "bad_request", f"{url} is not the URL of a hub, such as http://127.0.0.1:8010", {"url": url}
            )
        self._path = f"{parts.path}/mcp"
        self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=CONNECT_SEC)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(parts.hostname, port, timeout=CONNECT_SEC, context=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def tools(self) -> dict[str, dict[str, Any]]:
        """The hub's tools by name, as they are listed.

        Raises:
            CallFailed: no hub answers.
        """
        return {tool["name"]: tool for tool in self._ask("tools/list", {}, None, lambda _: None)["tools"]}

    def call(self, tool: str, arguments: dict[str, Any], on_progress: Callable[[str], None]) -> tuple[str, Any]:
        """The text and the payload of a tool's answer; `on_progress` is told what a tool says that waits.

        Raises:
            CallFailed: the tool failed, or the hub went away.
        """
        result = self._ask("tools/call", {"name": tool, "arguments": arguments}, tool, on_progress)
        text = "\n".join(part["text"] for part in result["content"] if part["type"] == "text")
        payload = result.get("structuredContent")
        if not result.get("isError"):
            return text, payload
        details = dict(payload or {})
        details.pop("rpcCode", None)
        code, message = details.pop("relayCode", "internal_error"), details.pop("message", text)
        raise CallFailed(code, message, details)

    def _ask(
        self, method: str, params: dict[str, Any], name: str | None, on_progress: Callable[[str], None]
    ) -> dict[str, Any]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": _META}})
        headers = {**self._headers, "MCP-Protocol-Version": PROTOCOL, "MCP-Method": method}
        if name is not None:
            headers["MCP-Name"] = name
        if self._connection.sock is None:
            self._connect()
        try:
            self._connection.request("POST", self._path, body.encode(), headers)
            answer = _answer(self._connection.getresponse(), on_progress)
        except (OSError, http.client.HTTPException) as error:
            raise CallFailed(
                "hub_unavailable",
                f"The hub at {self.url} went away before it answered ({_reason(error)}). What it had taken goes on.",
                {"url": self.url},
            ) from None
        if "result" not in answer:
            raise self._refusal(answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _connect(self) -> None:
        try:
            self._connection.connect()
        except (OSError, UnicodeError) as error:  # the latter: a host name that cannot be one
            raise CallFailed(
                "hub_unavailable",
                f"No hub answers at {self.url} ({_reason(error)}). Start one with relay-hub serve, or say with --url "
                "where it is.",
                {"url": self.url},
            ) from None
        self._connection.sock.settimeout(SILENCE_SEC)

    def _refusal(self, answer: dict[str, Any]) -> CallFailed:
        """Why there is no result: the protocol's error, that of the hub's door, or there is no hub."""
        match answer:
            case {"error": {"message": str(message)}}:
                return CallFailed("internal_error", message)
            case {"error": str(message), "code": str(code), "details": dict(details)}:
                return CallFailed(code, message, details)
        return CallFailed("hub_unavailable", f"What answers at {self.url} is no Relay Hub.", {"url": self.url})


def _answer(response: http.client.HTTPResponse, on_progress: Callable[[str], None]) -> dict[str, Any]:
    """The message that ends an answer, which is the only one or comes after progress; empty for anything else."""
    if response.headers.get_content_type() != "text/event-stream":
        return _object(response.read())
    data = b""
    for line in response:
        if line.startswith(b"data:"):
            data += line.removeprefix(b"data:").strip(b" \r\n")
        elif not line.strip() and data:
            message, data = _object(data), b""
            if "method" not in message:
                return message
            if message["method"] == "notifications/progress":
                on_progress(str(message["params"].get("message", "")))
    raise http.client.IncompleteRead(data)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
