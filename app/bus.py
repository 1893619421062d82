"""Hints between tasks of one process: "look again", never "this is what happened".

A hint is a topic's name. Whoever waits on it asks the database afterwards, so hints may be merged, repeated or lost,
and a slow reader holds nobody up: all that it missed is one flag.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class BusClosed(Exception):
    """The hub is stopping: end the stream, the reader comes back to the next hub."""


class Subscription:
    """One reader's flag."""

    def __init__(self) -> None:
        self._flag = asyncio.Event()
        self._closed = False

    def hint(self) -> None:
        self._flag.set()

    def close(self) -> None:
        self._closed = True
        self._flag.set()

    async def wait(self, timeout_sec: float | None = None) -> bool:
        """Wait for a hint; False after `timeout_sec` without one.

        Hints that came since the last wait count, so that "query, then wait" misses nothing.

        Raises:
            BusClosed: the hub is stopping.
        """
        try:
            async with asyncio.timeout(timeout_sec):
                await self._flag.wait()
        except TimeoutError:
            return False
        if self._closed:
            raise BusClosed
        self._flag.clear()
        return True


class Bus:
    """Publish and subscribe by topic. Used on the event loop only."""

    def __init__(self) -> None:
        self._readers: dict[str, set[Subscription]] = {}
        self._closed = False

    @contextmanager
    def subscribe(self, *topics: str) -> Iterator[Subscription]:
        """Listen to topics. Subscribe first, query second: a change in between leaves its hint."""
        subscription = Subscription()
        for topic in topics:
            self._readers.setdefault(topic, set()).add(subscription)
        if self._closed:
            subscription.close()
        try:
            yield subscription
        finally:
            for topic in topics:
                readers = self._readers[topic]
                readers.discard(subscription)
                if not readers:
                    del self._readers[topic]

    def publish(self, topics: Iterable[str]) -> None:
        for topic in topics:
            for subscription in self._readers.get(topic, ()):
                subscription.hint()

    def close(self) -> None:
        """Wake every reader for the last time."""
        self._closed = True
        for readers in self._readers.values():
            for subscription in readers:
                subscription.close()
