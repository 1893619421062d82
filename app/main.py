"""The composition root: one ASGI app from one set of settings."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from app import __version__, docs
from app.api import dispatches, messages
from app.errors import CannotStart, ErrorCode, HubError, InternalError, error_body
from app.hub import Hub
from app.security.edges import Edges
from app.settings import Settings
from app.tools import server
from app.ui import live, views
from app.ui.render import Renderer, asset_folder

logger = logging.getLogger("relay_hub")

HTTP_CODES = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED, 413: ErrorCode.PAYLOAD_TOO_LARGE}


def create_app(settings: Settings) -> FastAPI:
    """The whole hub as an ASGI app; its lifespan opens and closes everything. `app.state.hub` is the hub."""
    hub = Hub(settings)
    renderer = Renderer()
    tools = server.tools(hub)
    mcp = server.session_manager(hub, tools)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with hub.run(), mcp.run():
                yield
        except CannotStart as error:
            app.state.failure = error
            raise

    app = FastAPI(
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
    app.add_middleware(Edges, settings=settings)
    app.add_exception_handler(HubError, _hub_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _crash)

    app.include_router(messages.routes(hub))
    app.include_router(dispatches.routes(hub))
    # Exact routes: a mount would redirect /mcp, and would swallow the 404s of everything after it.
    app.router.routes.extend(Route(path, endpoint=_asgi(mcp.asgi_app)) for path in ("/mcp", "/mcp/"))
    app.include_router(live.routes(hub, renderer))
    app.include_router(views.routes(hub, renderer))
    app.mount("/static", _Static(directory=asset_folder("static")), name="static")
    docs.add(app, tools, renderer)
    return app


class _Static(StaticFiles):
    """Files whose addresses change with their content may be kept for ever."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _asgi(app: ASGIApp) -> Any:
    """An object with `__call__`: Starlette takes a plain function for a request handler."""

    class Endpoint:
        __call__ = staticmethod(app)

    return Endpoint()


async def _hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    return _answer(request, error.http_status, error.as_json())


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
    return _answer(request, 500, InternalError("The hub failed on this request; its log says why.").as_json())


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
