"""The server below a hub: uvicorn, which says where it listens, and the log on standard error."""

import asyncio
import importlib.util
import logging
import signal
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.cli.access import AccessLog
from app.cli.console import OneLineFormatter
from app.cli.protocol import Bounded, OnH11
from app.errors import CannotStart, HubStopping
from app.main import create_app
from app.security.tokens import NOTHING
from app.settings import Settings

LOOK_TICKS = 10
"""Of a tenth of a second each."""
STOP_SEC = 5
"""How long open streams may delay the stop."""


class Server(uvicorn.Server):
    """Uvicorn that says where it listens, and ends open streams when it is asked to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, slow_client_sec: float) -> None:
        super().__init__(config)
        self._app = app
        self._slow_client_sec = slow_client_sec

    async def startup(self, sockets: Any = None) -> None:
        """Start to listen.

        Raises:
            CannotStart: the hub says no, or its port cannot be had.
        """
        try:
            await super().startup(sockets)
        except SystemExit:
            raise getattr(self._app.state, "failure", None) or CannotStart(
                f"Cannot start on {self.config.host}, port {self.config.port}; the lines above say why. "
                "If another program has the port, choose one with --port."
            ) from None
        port = self.servers[0].sockets[0].getsockname()[1]
        everybody = await self._app.state.hub.principals.look(NOTHING)
        welcome = _welcome(self.config.host, port, needs_token=not everybody.is_admitted)
        print(welcome, flush=True)  # noqa: T201 - this is the command's output

    async def on_tick(self, counter: int) -> bool:
        if counter % LOOK_TICKS == 0:
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Bounded)
                connection.look(self._slow_client_sec)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop; a second Ctrl+C stops without waiting. Unlike uvicorn's own, the process then exits with 0."""
        # Uvicorn waits for open answers before it stops; a live page would hold it for ever.
        asyncio.get_running_loop().call_soon_threadsafe(self._app.state.hub.bus.close)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(settings: Settings) -> None:
    """Run a hub until it is told to stop.

    Raises:
        CannotStart: it cannot; the text says why.
    """
    _log_to_stderr()
    app = create_app(settings)
    config = uvicorn.Config(
        AccessLog(_failing_quietly(app)),
        host=settings.host,
        port=settings.port,
        http=_protocol(),
        h11_max_incomplete_event_size=settings.max_header_bytes,
        timeout_graceful_shutdown=STOP_SEC,
        server_header=False,
        # Any local program may send X-Forwarded-For: it would choose what the access log says of it.
        proxy_headers=False,
        log_config=None,
        access_log=False,
        ws="none",
    )
    Server(config, app, settings.slow_client_sec).run()


def _protocol() -> type[Bounded]:
    if importlib.util.find_spec("httptools") is None:
        return OnH11
    from app.cli.fast_protocol import OnHttpTools

    return OnHttpTools


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for talkative in ("mcp", "alembic"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def _failing_quietly(app: FastAPI) -> ASGIApp:
    """The app, without the tracebacks of what is told in a sentence: a start that failed, a request that the stop
    cuts off."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        is_answered = False

        async def explained(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            if message["type"] == "lifespan.startup.failed" and hasattr(app.state, "failure"):
                message = {"type": message["type"]}
            await send(message)

        try:
            await app(scope, receive, explained)
        except asyncio.CancelledError:
            if not app.state.hub.bus.is_closed or scope["type"] != "http":
                raise
            if not is_answered:
                error = HubStopping("The hub stopped before it was done. Look what became of it, then ask again.")
                await JSONResponse(error.as_json(), error.http_status)(scope, receive, send)

    return wrapped


def _welcome(host: str, port: int, *, needs_token: bool) -> str:
    claude, codex, hint = "", "", ""
    if needs_token:
        claude = ' --header "Authorization: Bearer $RELAY_HUB_TOKEN"'
        codex = " --bearer-token-env-var RELAY_HUB_TOKEN"
        hint = "\nThis hub wants to know who calls: relay-hub token create NAME [--human] makes a token.\n"
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return f"""
Relay Hub is listening on {url}

  Page           {url}/
  API            {url}/api/messages   (documented at {url}/docs)
  MCP endpoint   {url}/mcp

Register it once:

  claude mcp add --transport http relay {url}/mcp{claude}
  codex mcp add relay --url {url}/mcp{codex}
{hint}"""
