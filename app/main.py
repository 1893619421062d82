"""The composition root: one ASGI app from one set of settings."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app import __version__, docs
from app.api import approvals, dispatches, events, messages, pauses
from app.errors import CannotStart, ErrorCode, HubError, InternalError, RateLimited, Unauthenticated, error_body
from app.hub import Hub
from app.schemas import MessageBytes
from app.security.edges import Edges
from app.security.gate import Gate
from app.security.limits import Limits, retry_after
from app.settings import Settings
from app.shortcuts import Endpoint, Shortcuts
from app.tools import catalog
from app.tools.endpoint import McpEndpoint
from app.ui import live, login, views
from app.ui.render import Renderer, asset_folder

logger = logging.getLogger("relay_hub")

MCP_PATHS = ("/mcp", "/mcp/")
"""Exact paths: a mount would redirect /mcp, and would swallow the 404s of everything after it."""

HTTP_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED, 413: ErrorCode.PAYLOAD_TOO_LARGE}


def create_app(settings: Settings) -> FastAPI:
    """The whole hub as an ASGI app; its lifespan opens and closes everything. `app.state.hub` is the hub."""
    hub = Hub(settings)
    renderer = Renderer(hub.chat.get, hub.dispatches.approvals)
    tools = catalog.tools(hub)
    mcp = McpEndpoint(hub, tools)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with hub.run(), mcp.run():
                yield
        except CannotStart as error:
            app.state.failure = error
            raise

    app = HubApp(
        title="Relay Hub",
        version=__version__,
        description="Channels for agents and people, and dispatches into Codex threads. MCP is served at /mcp.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.hub = hub
    app.state.renderer = renderer
    encoded = MessageBytes()
    messages_api, events_api = messages.routes(hub, encoded), events.routes(hub, encoded)
    dispatches_api = dispatches.routes(hub)
    endpoints = {
        **_endpoints(messages_api, "/api/messages"),
        **_endpoints(events_api, "/api/events"),
        **_endpoints(dispatches_api, "/api/dispatches"),
    }
    shortcuts = Shortcuts(app.behind, endpoints, apps=dict.fromkeys(MCP_PATHS, mcp), failed=_hub_error)
    app.front = Edges(Gate(Limits(shortcuts, settings), hub.principals, app.exists, _hub_error), settings)
    app.add_exception_handler(HubError, _hub_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _crash)

    app.include_router(messages_api)
    app.include_router(events_api)
    app.include_router(dispatches_api)
    app.include_router(pauses.routes(hub))
    app.include_router(approvals.routes(hub))
    app.router.routes.extend(Route(path, endpoint=mcp) for path in MCP_PATHS)
    app.include_router(live.routes(hub, renderer))
    app.include_router(views.routes(hub, renderer))
    app.include_router(login.routes(hub, renderer))
    app.mount("/static", _Static(directory=asset_folder("static")), name="static")
    docs.add(app, tools, renderer)
    return app


class HubApp(FastAPI):
    """An app whose edges stand before everything of the framework, its own middleware included."""

    front: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # whoever refuses a request in front may do so with a page
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What FastAPI itself does."""
        await super().__call__(scope, receive, send)

    def exists(self, scope: Scope) -> bool:
        """Whether there is a route for a request."""
        return any(route.matches(scope)[0] is Match.FULL for route in self.routes)


def _endpoints(router: APIRouter, path: str) -> dict[tuple[str, str], Endpoint]:
    routes = [route for route in router.routes if isinstance(route, APIRoute) and route.path == path]
    return {(method, path): route.endpoint for route in routes for method in route.methods or ()}


class _Static(StaticFiles):
    """Files whose addresses change with their content may be kept for ever."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


async def _hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    headers = None
    if isinstance(error, Unauthenticated):
        headers = {"WWW-Authenticate": 'Bearer realm="relay-hub"'}
    elif isinstance(error, RateLimited):
        headers = retry_after(error)
    return _answer(request, error.http_status, error.as_json(), headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTP_CODES.get(error.status_code, ErrorCode.BAD_REQUEST)
    message = {
        404: f"There is nothing at {request.url.path}. /docs lists what there is.",
        405: f"{request.method} is not possible at {request.url.path}.",
    }.get(error.status_code, str(error.detail))
    return _answer(request, error.status_code, error_body(code, message), error.headers)


async def _crash(request: Request, error: Exception) -> Response:
    """Starlette logs the traceback; the client learns only where to look."""
    return _answer(request, 500, InternalError().as_json())


def _answer(request: Request, status: int, body: dict[str, Any], headers: Any = None) -> Response:
    """The error as a page for people, as JSON for everybody else."""
    programs = request.url.path.startswith(("/api", "/mcp", "/.well-known", "/register"))
    if not programs and "text/html" in request.headers.get("accept", ""):
        title = HTTPStatus(status).phrase
        renderer: Renderer = request.app.state.renderer
        page: Response = renderer.error(request, status, title, body["error"])
        page.headers.update(headers or {})
        return page
    return JSONResponse(body, status, headers)
