"""The search page: a form and what it finds."""

import asyncio
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.errors import BadRequest
from app.hub import Hub
from app.models import Message
from app.storage.messages import is_full
from app.storage.search import terms
from app.ui.addresses import cursor
from app.ui.excerpts import Piece, excerpt
from app.ui.render import SENDERS, Renderer

RESULTS = 30
"""Messages on a page."""
FIELDS = ("q", "target", "sender")


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter()

    @router.get("/search")
    async def search(request: Request) -> HTMLResponse:
        query: dict[str, Any] = {name: request.query_params.get(name, "").replace("\0", " ").strip() for name in FIELDS}
        query["before_id"] = cursor("before_id", request.query_params.get("before_id"))
        rows: list[Message] = []
        error = ""
        if query["q"]:
            try:
                rows = await _find(hub, **query)
            except BadRequest as problem:
                error = problem.message
        shown = rows[:RESULTS]
        older = None
        if rows and is_full(rows, RESULTS + 1):
            older = "/search?" + urlencode({**query, "before_id": shown[-1].id})
        return renderer.page(
            request,
            "search/index.html",
            400 if error else 200,
            query=query,
            error=error,
            found=await asyncio.to_thread(_excerpts, shown, query["q"]),
            older=older,
            channels=await hub.chat.channels(),
            senders=SENDERS,
        )

    return router


async def _find(hub: Hub, q: str, target: str, sender: str, before_id: int | None) -> list[Message]:
    return await hub.chat.search(
        q, target=target or None, sender=sender or None, before_id=before_id, limit=RESULTS + 1
    )


def _excerpts(found: list[Message], query: str) -> list[tuple[Message, list[Piece]]]:
    wanted = terms(query)
    return [(message, excerpt(message.text, wanted)) for message in found]
