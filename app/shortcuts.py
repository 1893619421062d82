"""Hot routes, answered without the framework's routing, which costs several times what a post does.

The endpoints are routes like all others, so the documents and the tests know them; this only finds them sooner.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import HubError, InternalError

logger = logging.getLogger("relay_hub")

Endpoint = Callable[[Request], Awaitable[Response]]
Failed = Callable[[Request, HubError], Awaitable[Response]]


class Shortcuts:
    """An ASGI app before an app: `endpoints` are by method and path, `apps` by path, everything else goes on."""

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[tuple[str, str], Endpoint],
        apps: Mapping[str, ASGIApp],
        failed: Failed,
    ) -> None:
        self._app = app
        self._endpoints = endpoints
        self._apps = apps
        self._failed = failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        try:
            endpoint = self._endpoints.get((scope["method"], path))
            if endpoint is None:
                await self._apps.get(path, self._app)(scope, receive, send)
                return
            response = await self._response(endpoint, Request(scope, receive))
        except HubError as error:
            response = await self._failed(Request(scope, receive), error)
        except ClientDisconnect:
            # Whoever sent half a request is not there to hear what is wrong with it.
            return
        await response(scope, receive, send)

    async def _response(self, endpoint: Endpoint, request: Request) -> Response:
        try:
            return await endpoint(request)
        except (HubError, ClientDisconnect):
            raise
        except Exception as error:
            logger.exception("%s %s failed", request.method, request.url.path)
            raise InternalError from error
