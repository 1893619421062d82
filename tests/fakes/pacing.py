"""How fast the fake model speaks."""

import asyncio
import math
from collections.abc import AsyncIterator

PIECES_PER_SECOND = 10


class Pacing:
    """Cuts a text into pieces spread over some seconds; none when the server stops meanwhile."""

    def __init__(self, seconds: float, stopping: asyncio.Event) -> None:
        self.seconds = seconds
        self._stopping = stopping

    async def pieces(self, text: str) -> AsyncIterator[str]:
        """The text in order; waits before each piece but the first."""
        count = max(1, min(len(text), math.ceil(self.seconds * PIECES_PER_SECOND)))
        size = math.ceil(len(text) / count) or 1
        starts = range(0, len(text), size)
        for start in starts:
            yield text[start : start + size]
            await self.pause(self.seconds / len(starts))

    async def pause(self, seconds: float | None) -> None:
        """Wait, for ever with None, but never past the end of the server."""
        if seconds != 0:
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                return
            raise ConnectionAbortedError("the fake model stops")
