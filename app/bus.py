"""Hints between tasks of one process: "look again", never "this is what happened".

A hint is a topic's name. Whoever waits on it asks the database afterwards, so hints may be merged, repeated or lost,
and a slow reader holds nobody up: all that it missed is one flag.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


class BusClosed(Exception):
    """The hub is stopping: end the stream, the reader comes back to the next hub."""


class Subscription:
    """One reader's flag."""

    def __init__(self) -> None:
        self._flag = asyncio.Event()
        self._closed = False

    @property
    def is_set(self) -> bool:
        """Whether a hint came that nobody has waited for or cleared."""
        return self._flag.is_set()

    def hint(self) -> None:
        self._flag.set()

    def clear(self) -> None:
        """Take note of the hints so far without waiting."""
        self._flag.clear()

    def close(self) -> None:
        self._closed = True
        self._flag.set()

    async def wait(self, timeout_sec: float | None = None) -> bool:
        """Wait for a hint; False after `timeout_sec` without one.

        Hints that came since the last wait count, so that "query, then wait" misses nothing.

        Raises:
            BusClosed: the hub is stopping.
        """
        if timeout_sec is None:
            await self._flag.wait()
        else:
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
        self.is_closed = False

    @contextmanager
    def subscribe(self, *topics: str) -> Iterator[Subscription]:
        """Listen to topics. Subscribe first, query second: a change in between leaves its hint."""
        subscription = Subscription()
        for topic in topics:
            self._readers.setdefault(topic, set()).add(subscription)
        if self.is_closed:
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
        self.is_closed = True
        for readers in self._readers.values():
            for subscription in readers:
                subscription.close()


class SharedLook:
    """One look at the database for all who want to know at the same time."""

    def __init__(self, bus: Bus, topic: str, look: Callable[[], Awaitable[None]], *, trusts_hints: bool) -> None:
        """`look` reads what has changed; where hints cannot be trusted, for everybody who asks after it began."""
        self._look = look
        self._trusts_hints = trusts_hints
        self._listening = ExitStack()
        self._hints = self._listening.enter_context(bus.subscribe(topic))
        self._hints.hint()
        self._now: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._next_is_over = asyncio.Event()

    async def fresh(self) -> None:
        """Return once everything is known that was durable when this was called."""
        if self._trusts_hints and not self._hints.is_set and self._now is None:
            return
        # A look that is under way may have begun too early for this caller: the next one will do, for all who wait.
        if self._next is None:
            self._next, self._next_is_over = _begun(self._look_after(self._now))
        # A thousand may wait here, and any of them may leave; to shield the task from each would cost twice as much.
        look = self._next
        await self._next_is_over.wait()
        look.result()

    def close(self) -> None:
        self._listening.close()

    async def _look_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._now, self._next = self._next, None
        try:
            if self._hints.is_set or not self._trusts_hints:
                self._hints.clear()
                await self._look()
        except BaseException:
            self._hints.hint()
            raise
        finally:
            self._now = None


def _begun(work: Coroutine[Any, Any, None]) -> tuple[asyncio.Task[None], asyncio.Event]:
    """A task, and the event that says that it is over."""
    task, is_over = asyncio.create_task(work), asyncio.Event()
    task.add_done_callback(lambda _: is_over.set())
    return task, is_over
