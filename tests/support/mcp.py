"""Calling the hub's tools as agents do, by the official client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.hub import HubProcess

ERAS = ("legacy", "2026-07-28")
"""The protocol with sessions, and the one without."""


class Agent:
    """One connected client."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The payload of a tool that succeeds; the test fails when it does not."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        payload: dict[str, Any] = result.structured_content or {}
        return payload

    async def fail(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The error of a tool that fails, as data; its text must say the same."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        payload: dict[str, Any] = result.structured_content or {}
        assert result.content[0].text == f"[{payload['relayCode']}] {payload['message']}"  # type: ignore[union-attr]
        return payload

    async def text(self, tool: str, **arguments: Any) -> str:
        """What a tool says in words."""
        result = await self.client.call_tool(tool, arguments)
        return str(result.content[0].text)  # type: ignore[union-attr]


@asynccontextmanager
async def agent(hub: HubProcess, era: str = "2026-07-28", token: str | None = None) -> AsyncIterator[Agent]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{hub.url}/mcp", http_client=http), mode=era) as client,
    ):
        yield Agent(client)
