"""The app-server that serves this hub: found or started on first need, and again after it died."""

import asyncio
import logging
from pathlib import Path

from app.codex import leftovers
from app.codex.client import CodexClient
from app.codex.detached import EXIT_WAIT_SEC, gone
from app.codex.launch import AppServer, open_transport
from app.codex.program import INSTALL_HINT
from app.codex.questions import Answer
from app.errors import AppServerUnavailable
from app.settings import Settings

logger = logging.getLogger("relay_hub.codex")

STEADY_SEC = 1.0
"""A process that lived this long after its start was not what is wrong."""
FIRST_PAUSE_SEC = 0.5
LONGEST_PAUSE_SEC = 30.0
CLOSED = "codex app-server session already closed"


class Pool:
    """Hands out the live client. One process serves all turns."""

    def __init__(self, settings: Settings, answer: Answer | None = None) -> None:
        self._settings = settings
        self._answer = answer
        self._client: CodexClient | None = None
        self._starting: asyncio.Task[CodexClient] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._path: Path | None = None
        self._closed = False
        self._started_at = 0.0
        self._setbacks = 0
        self._failure = AppServerUnavailable("codex app-server was not started")
        self._retry_at = 0.0

    async def client(self, thread_id: str | None = None) -> CodexClient:
        """The client for a thread; callers that come together share one start.

        Raises:
            AppServerUnavailable: it does not start. Within the pause after a failure (0.5 s,
                doubled up to 30 s) this repeats that failure without another try.
        """
        if self._closed:
            raise AppServerUnavailable(CLOSED)
        if self._client is not None and self._client.closed is None:
            return self._client
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._start_done)
        # Not awaited itself: one caller's leaving would end the start for the others.
        starting = self._starting
        await asyncio.wait([starting])
        if starting.cancelled():
            raise AppServerUnavailable(CLOSED)
        return starting.result()

    async def aclose(self) -> None:
        """Stop the app-server, bounded by its stop ladder. One that still works is left to whoever comes next."""
        self._closed = True
        for task in (self._starting, self._tidying):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._client is not None:
            await self._client.aclose()
        await leftovers.end_idle(self._settings, own=self._path)

    async def _start(self) -> CodexClient:
        await self._bury()
        if _now() < self._retry_at:
            raise AppServerUnavailable(self._failure.message, **self._failure.details)
        try:
            server, client = await self._open()
        except AppServerUnavailable as error:
            self._set_back(error, self._setbacks)
            raise
        begun = "found" if server.attached else "started"
        logger.info("codex app-server %s %s, pid %d", client.version, begun, server.pid)
        self._client, self._path = client, server.path
        self._started_at = _now()
        if self._tidying is None or self._tidying.done():
            # What others left behind must not delay whoever waits for this client.
            self._tidying = asyncio.create_task(leftovers.end_idle(self._settings, but=server.path))
        return client

    async def _open(self) -> tuple[AppServer, CodexClient]:
        while True:
            server = await open_transport(self._settings)
            client = CodexClient(server, self._settings, self._answer)
            try:
                await client.initialize()
                return server, client
            except BaseException as error:
                hung_up = client.closed is not None
                await client.aclose()
                if not server.attached:
                    await server.end()
                if not isinstance(error, AppServerUnavailable):
                    raise
                # Found just when it was about to end: then there is another one to be found or started.
                if not (server.attached and hung_up and await gone(server.pid, EXIT_WAIT_SEC)):
                    raise _explained(error, server) from error

    async def _bury(self) -> None:
        """Reap a process that died by itself, with its group."""
        dead, self._client = self._client, None
        if dead is None or dead.closed is None:
            return
        lived = _now() - self._started_at
        logger.warning("%s", dead.closed)
        await dead.aclose()
        if lived >= STEADY_SEC:
            self._setbacks = 0
        else:
            # One early death is forgiven: the next start need not wait.
            self._set_back(AppServerUnavailable(dead.closed, cause=dead.closed), self._setbacks - 1)

    def _set_back(self, failure: AppServerUnavailable, doublings: int) -> None:
        pause = FIRST_PAUSE_SEC * 2**doublings if doublings >= 0 else 0.0
        self._failure = failure
        self._retry_at = _now() + min(pause, LONGEST_PAUSE_SEC)
        self._setbacks = min(self._setbacks + 1, 10)

    def _start_done(self, task: asyncio.Task[CodexClient]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()


def _explained(error: AppServerUnavailable, server: AppServer) -> AppServerUnavailable:
    """The failure of a start, with what the app-server said before."""
    return AppServerUnavailable(
        f"Failed to start codex app-server: {error.message}. {INSTALL_HINT}",
        **error.details,
        stderr=list(server.last_words),
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
