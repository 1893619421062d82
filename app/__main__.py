"""The command `relay-hub`: `serve` runs the hub, `config` shows every setting and where its value comes from."""

import argparse
import asyncio
import logging
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from app.config import Loaded, load
from app.errors import CannotStart
from app.main import create_app
from app.settings import Settings

QUIET_PATHS = frozenset({"/", "/api/messages", "/api/channels", "/healthz", "/docs", "/openapi.json"})
QUIET_FOLDERS = ("/static/", "/live/")
"""What pollers and pages ask all the time; their lines would hide the others."""
PASSWORD = re.compile(r"(://[^:/@]*:).*@")
STOP_SEC = 5
"""How long open streams may delay the stop."""


class Server(uvicorn.Server):
    """Uvicorn that says where it listens, and ends open streams when it is asked to stop."""

    def __init__(self, config: uvicorn.Config, hub_app: Any) -> None:
        super().__init__(config)
        self._hub = hub_app.state.hub

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and self.servers:
            port = self.servers[0].sockets[0].getsockname()[1]
            print(_welcome(self.config.host, port), flush=True)  # noqa: T201 - this is the command's output

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop; a second Ctrl+C stops without waiting. Unlike uvicorn's own, the process then exits with 0."""
        # Uvicorn waits for open answers before it stops; a live page would hold it for ever.
        asyncio.get_running_loop().call_soon_threadsafe(self._hub.bus.close)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


class QuietAccess(logging.Filter):
    """Drops the access lines of QUIET_PATHS; decided for each line by itself, so overlap cannot confuse it."""

    def filter(self, record: logging.LogRecord) -> bool:
        path = str(record.args[2]) if isinstance(record.args, tuple) and len(record.args) > 2 else ""
        return path.partition("?")[0] not in QUIET_PATHS and not path.startswith(QUIET_FOLDERS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it went well, 2 when the hub cannot start."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    command, config = given.pop("command"), given.pop("config")
    try:
        loaded = load(flags=given, config=config)
        for warning in (*loaded.warnings, *_exposed(loaded.settings)):
            sys.stderr.write(f"warning: {warning}\n")
        return _show(loaded) if command == "config" else _serve(loaded.settings)
    except CannotStart as error:
        sys.stderr.write(f"relay-hub: {error}\n")
        return 2


def _serve(settings: Settings) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for talkative in ("mcp", "alembic"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    app = create_app(settings)
    config = uvicorn.Config(
        _plain_failure(app),
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=STOP_SEC,
        server_header=False,
        log_config=None,
    )
    logging.getLogger("uvicorn.access").addFilter(QuietAccess())
    server = Server(config, app)
    server.run()
    return 0 if server.started else 2


def _exposed(settings: Settings) -> list[str]:
    if settings.host.strip("[]") in ("127.0.0.1", "localhost", "::1"):
        return []
    return [f"host is {settings.host}: whoever can reach this machine can read all channels and run Codex turns"]


def _plain_failure(app: FastAPI) -> ASGIApp:
    """The app, which tells why it cannot start in a sentence instead of a traceback."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def explained(message: Message) -> None:
            failure = getattr(app.state, "failure", None)
            if message["type"] == "lifespan.startup.failed" and failure:
                message = {**message, "message": f"relay-hub: {failure}"}
            await send(message)

        await app(scope, receive, explained if scope["type"] == "lifespan" else send)

    return wrapped


def _show(loaded: Loaded) -> int:
    for name in Settings.model_fields:
        value = getattr(loaded.settings, name)
        shown = ",".join(value) if isinstance(value, tuple) else PASSWORD.sub(r"\1***@", str(value))
        sys.stdout.write(f"{name} = {shown}  ({loaded.sources.get(name, 'default')})\n")
    return 0


def _welcome(host: str, port: int) -> str:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    return f"""
Relay Hub is listening on {url}

  Page           {url}/
  API            {url}/api/messages   (documented at {url}/docs)
  MCP endpoint   {url}/mcp

Register it once:

  claude mcp add --transport http relay {url}/mcp
  codex mcp add relay --url {url}/mcp
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relay-hub", description="Channels and Codex dispatches for your agents.")
    parser.add_argument("--version", action="version", version=f"relay-hub {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (("serve", "run the hub"), ("config", "show every setting and its source")):
        command = commands.add_parser(name, help=purpose, description=purpose)
        command.add_argument("--config", type=Path, help="settings file (default: ./config.json)")
        for setting, field in Settings.model_fields.items():
            command.add_argument(f"--{setting.replace('_', '-')}", metavar="VALUE", help=field.description)
    return parser


if __name__ == "__main__":
    sys.exit(main())
