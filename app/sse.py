"""Server-sent events: one answer that goes on as long as its reader stays.

A stream listens first, asks second and waits third, so it misses nothing; a reader that comes back with the last id it
saw gets what it missed in the same way. Nothing here outlives its connection, and a slow reader holds up only itself.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.bus import Bus, BusClosed, Subscription
from app.errors import RateLimited
from app.security.limits import refused

RETRY_MS = 1000
LOOK_AGAIN_SEC = 15.0
"""A hint may be lost, so a stream looks by itself as well, and shows that it lives."""

_LINE_END = re.compile(r"\r\n|\r|\n")


def event(name: str, data: str, event_id: int | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" + ("" if event_id is None else f"id: {event_id}\n")
    return (head + "".join(f"data: {line}\n" for line in _LINE_END.split(data)) + "\n").encode()


class Feed(Protocol):
    """What one reader sees; it knows what that reader has been sent."""

    @property
    def topics(self) -> tuple[str, ...]:
        """What to listen to."""
        ...

    def news(self) -> AsyncIterator[bytes]:
        """The events since it was asked last."""
        ...


class EventStream(Response):
    """The events of a feed, until the hub stops or the reader leaves."""

    media_type = "text/event-stream"

    def __init__(self, bus: Bus, feed: Feed, *, alive: bytes = b": still here\n\n", last: bytes = b"") -> None:
        """`alive` is sent when there was nothing else to say for LOOK_AGAIN_SEC, `last` when the hub stops."""
        # Proxies that gather an answer before they pass it on would silence a stream.
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._bus = bus
        self._feed = feed
        self._alive = alive
        self._last = last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with scope["streams"].one():
                await self._stream(receive, send)
        except RateLimited as error:
            await refused(error)(scope, receive, send)

    async def _stream(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await _send(send, f"retry: {RETRY_MS}\n\n".encode())
        with self._bus.subscribe(*self._feed.topics) as hints:
            # One more task is all that a reader costs beside its connection; a thousand of them are kept at a time.
            leaving = asyncio.create_task(_left(receive))
            leaving.add_done_callback(lambda _: hints.close())
            clock = _Clock(hints)
            try:
                while True:
                    silent = True
                    async for news in self._feed.news():
                        silent = False
                        await _send(send, news)
                    if silent:
                        await _send(send, self._alive)
                    await hints.wait()
            except BusClosed:
                await _send(send, self._last, more=False)
            finally:
                clock.stop()
                leaving.cancel()


class _Clock:
    """Hints now and then. A timeout on each wait would cost as much as what is waited for."""

    def __init__(self, hints: Subscription) -> None:
        self._hints = hints
        self._set()

    def stop(self) -> None:
        self._timer.cancel()

    def _set(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_AGAIN_SEC, self._strike)

    def _strike(self) -> None:
        self._hints.hint()
        self._set()


async def _send(send: Send, body: bytes, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
