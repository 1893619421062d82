"""Listening to one thread of an app-server."""

import asyncio
import contextlib
from typing import Self

from app.codex.failures import unavailable
from app.codex.protocol import Notification

PAUSE_SEC = 0.1


class Watch:
    """Every notification of one thread, in order, from the moment the watch was opened."""

    def __init__(self) -> None:
        # Unbounded, so that a watch that nobody reads never holds up the read loop.
        self._queue: asyncio.Queue[Notification | None] = asyncio.Queue()
        self._reason = ""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        """Raises AppServerUnavailable when the connection has closed and everything was read."""
        notification = await self._queue.get()
        if notification is None:
            self.end(self._reason)
            raise unavailable(self._reason)
        return notification

    def put(self, notification: Notification) -> None:
        self._queue.put_nowait(notification)

    def end(self, reason: str) -> None:
        self._reason = reason
        self._queue.put_nowait(None)


async def next_of(watch: Watch, *methods: str, turn_id: str | None = None) -> str | None:
    """The next notification among `methods`, of one turn if given; None after a short pause."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PAUSE_SEC):
            async for notification in watch:
                turn = notification.params.get("turn")
                if notification.method in methods and (
                    turn_id is None or (isinstance(turn, dict) and turn.get("id") == turn_id)
                ):
                    return notification.method
    return None
