"""The app-server that serves this hub: started on first need, and again after it died."""

import asyncio
import logging

from app.codex.client import Answer, CodexClient
from app.codex.process import AppServerProcess
from app.codex.program import INSTALL_HINT
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
        """Stop the app-server, bounded by its stop ladder."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._client is not None:
            await self._client.aclose()

    async def _start(self) -> CodexClient:
        await self._bury()
        if _now() < self._retry_at:
            raise AppServerUnavailable(self._failure.message, **self._failure.details)
        process: AppServerProcess | None = None
        client: CodexClient | None = None
        try:
            process = await AppServerProcess.spawn(self._settings)
            client = CodexClient(process, self._settings, self._answer)
            await client.initialize()
        except BaseException as error:
            if client is not None:
                await client.aclose()
            if not isinstance(error, AppServerUnavailable):
                raise
            self._set_back(_explained(error, process), self._setbacks)
            raise self._failure from error
        logger.info("codex app-server %s started, pid %d", client.version, process.pid)
        self._client = client
        self._started_at = _now()
        return client

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


def _explained(error: AppServerUnavailable, process: AppServerProcess | None) -> AppServerUnavailable:
    """The failure of a start; where the process did run, with what it said before it failed."""
    if process is None:
        return AppServerUnavailable(error.message, **error.details)
    return AppServerUnavailable(
        f"Failed to start codex app-server: {error.message}. {INSTALL_HINT}",
        **error.details,
        stderr=list(process.last_words),
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
