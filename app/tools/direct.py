"""Calls of tools that answer at once, on a way past most of the SDK.

For each request the SDK makes tasks, streams and a chain of models: several times what posting a message costs. A call
of a quick tool needs none of that. Only requests that are in perfect order are taken here, and the SDK's own validators
say which ones are; everything else goes the SDK's way, so that one place words all refusals.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mcp_types as types
from mcp.server.streamable_http import check_accept_headers
from mcp.shared.inbound import InboundModernRoute, classify_inbound_request
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.types import Scope, Send

SESSION_VERSIONS = ("2025-06-18", "2025-11-25")
"""Those with sessions in which a result has structured content and a request names its version."""
PARTS = frozenset({"name", "arguments", "_meta"})

Run = Callable[[types.CallToolRequestParams, Scope], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class DirectCall:
    """A call in perfect order."""

    id: str | int
    params: types.CallToolRequestParams
    is_modern: bool


class DirectCalls:
    """The quick tools of a server."""

    def __init__(self, names: Iterable[str], run: Run, server_info: Mapping[str, Any]) -> None:
        self._names = frozenset(names)
        self._run = run
        self._modern = {"resultType": "complete", "_meta": {types.SERVER_INFO_META_KEY: server_info}}

    def read(self, headers: list[tuple[bytes, bytes]], body: bytes) -> DirectCall | None:
        """The call that this request is; None for every other request, and for one that somebody has to look at."""
        given = dict(headers)
        version = given.get(b"mcp-protocol-version", b"").decode("latin-1")
        is_modern = version in MODERN_PROTOCOL_VERSIONS
        if not is_modern and version not in SESSION_VERSIONS:
            return None
        # A header that comes twice is one to look at.
        if len(given) != len(headers) or not _is_json_for_json(given.get(b"content-type"), given.get(b"accept")):
            return None
        try:
            message = from_json(body)
            request = types.JSONRPCRequest.model_validate(message)
            params = request.params or {}
            if request.method != "tools/call" or params.get("name") not in self._names or not params.keys() <= PARTS:
                return None
            if is_modern:
                routed = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
                if not isinstance(classify_inbound_request(message, headers=routed), InboundModernRoute):
                    return None
            methods.validate_client_request("tools/call", version, params)
            typed = types.CallToolRequestParams.model_validate(params, by_name=False)
        except (TypeError, ValueError, RecursionError):
            return None
        return DirectCall(request.id, typed, is_modern)

    async def answer(self, call: DirectCall, session_id: str | None, scope: Scope, send: Send) -> None:
        """Run the tool and send its result."""
        result = await self._run(call.params, scope)
        if call.is_modern:
            result |= self._modern
        body = to_json({"jsonrpc": "2.0", "id": call.id, "result": result})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if session_id is not None:
            headers.append((b"mcp-session-id", session_id.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@lru_cache(256)
def _is_json_for_json(content_type: bytes | None, accept: bytes | None) -> bool:
    """Whether a body is JSON and its sender takes both forms of answers, as all real clients do."""
    request = Request({"type": "http", "headers": [(b"accept", accept or b"")]})
    return (content_type or b"").partition(b";")[0].strip().lower() == b"application/json" and all(
        check_accept_headers(request)
    )
