"""What the hub says of itself: `/healthz`, `/docs`, and the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse

from app.tools.tool import Tool
from app.ui.render import Renderer

_REFUSED = {"4XX": {"description": "The request was refused; most often the answer is a JSON-RPC error"}}
MCP_OPERATIONS = {
    "post": {
        "summary": "The MCP endpoint (streamable HTTP)",
        "tags": ["mcp"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {
            "200": {"description": "A JSON-RPC answer, as JSON or as an event stream"},
            "202": {"description": "A notification was taken"},
            **_REFUSED,
        },
    },
    "get": {
        "summary": "What the server says in an MCP session of its own accord",
        "tags": ["mcp"],
        "responses": {"200": {"description": "An event stream"}, **_REFUSED},
    },
    "delete": {
        "summary": "End an MCP session",
        "tags": ["mcp"],
        "responses": {"200": {"description": "It has ended"}, **_REFUSED},
    },
}


def add(app: FastAPI, tools: Sequence[Tool], renderer: Renderer) -> None:
    """Add the routes to the app. What they list is read off the app itself, so it cannot be out of date."""

    @app.get("/healthz", summary="Whether the hub answers", response_class=PlainTextResponse, tags=["hub"])
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        paths = app.openapi()["paths"]
        operations = [
            {"method": method.upper(), "path": path, "summary": operation["summary"]}
            for path, methods in paths.items()
            for method, operation in methods.items()
        ]
        return renderer.page(request, "docs.html", tools=tools, operations=operations)

    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _correct(generate()["paths"])
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _correct(paths: dict[str, dict[str, Any]]) -> None:
    """Add the route that FastAPI cannot see, and drop the error form that none of ours has."""
    paths["/mcp"] = MCP_OPERATIONS
    for methods in paths.values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
