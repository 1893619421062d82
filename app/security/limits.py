"""How much of the hub one caller may take: requests in a minute, and event streams and long waits at once."""

import math
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import RateLimited
from app.models import Principal
from app.settings import Settings

MOST_CALLERS = 10_000
"""So many are remembered; the one that was away longest is forgotten first."""
RETRY_SEC = 5
"""When to look for a free stream again."""


class Rate:
    """A bucket of requests for each caller: it holds those of a minute, and fills again all the time."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def take(self, caller: Hashable) -> None:
        """Count one request.

        Raises:
            RateLimited: there were too many.
        """
        now = time.monotonic()
        left, at = self._buckets.pop(caller, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - at) * self.per_minute / 60)
        is_over = left < 1
        self._buckets[caller] = (left if is_over else left - 1, now)
        if len(self._buckets) > MOST_CALLERS:
            del self._buckets[next(iter(self._buckets))]
        if is_over:
            wait_sec = math.ceil((1 - left) * 60 / self.per_minute)
            raise RateLimited(
                f"These are more requests in a minute than max_requests_per_minute allows ({self.per_minute}). "
                f"Go on in {wait_sec} s.",
                setting="max_requests_per_minute",
                retry_after_sec=wait_sec,
            )


class Streams:
    """A count of what is open: event streams, long polls, and waits inside MCP calls."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, for the length of a block.

        Raises:
            RateLimited: there are too many.
        """
        if self._open >= self._most:
            raise RateLimited(
                f"As many streams and waits are open as max_streams allows ({self._most}). Ask without waiting, or "
                "again once others have ended.",
                setting="max_streams",
                retry_after_sec=RETRY_SEC,
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class Limits:
    """An ASGI app before an app, behind the gate: callers are told apart by their principal, or else by their address.

    Leaves the count of `streams` in the scope, for whatever stays open.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._rate = Rate(settings.max_requests_per_minute)
        self._streams = Streams(settings.max_streams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            principal: Principal = scope["principal"]
            try:
                self._rate.take(principal.name or (scope["client"] or ("",))[:1])
            except RateLimited as error:
                await refused(error)(scope, receive, send)
                return
            scope["streams"] = self._streams
        await self._app(scope, receive, send)


def refused(error: RateLimited) -> JSONResponse:
    """The answer to whoever is over a limit."""
    return JSONResponse(error.as_json(), error.http_status, retry_after(error))


def retry_after(error: RateLimited) -> dict[str, str]:
    """The header that tells when to come again."""
    return {"Retry-After": str(error.details["retry_after_sec"])}
