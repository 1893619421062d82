"""An ASGI app on a free loopback port, in a thread of the test's own process."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

START_SECONDS = 10
STOP_SECONDS = 10


class Served:
    """A running app: its address, and the loop that it lives on."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            app,
            log_config=None,
            # A dropped connection is meant here and needs no traceback.
            log_level="critical",
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"served:{self.port}", daemon=True)
        self.loop: asyncio.AbstractEventLoop

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._started.set()
        await self._server.serve(sockets=[self._socket])

    def start(self) -> None:
        """The port takes connections from here on; they are answered once the app is ready."""
        self._thread.start()
        assert self._started.wait(START_SECONDS), "the server's thread did not start"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)
        assert not self._thread.is_alive(), "the server's thread did not stop"
        self._socket.close()


@contextmanager
def serving(app: ASGIApp) -> Iterator[Served]:
    """Serve an app for the length of a block."""
    served = Served(app)
    served.start()
    try:
        yield served
    finally:
        served.stop()
