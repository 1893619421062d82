"""Who makes a request: the digest of what they show is looked up, and the answer is believed for a second."""

import asyncio
import hmac
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from app.errors import DatabaseUnavailable
from app.models import OWNER, Principal
from app.security.tokens import NOTHING, digest_of, new_secret

CACHE_SEC = 1.0
"""Whoever changes a token waits this long; then every running hub obeys."""
WATCH_SEC = 2.0
"""How often it is asked again who may go on reading."""
MOST_KNOWN = 10_000


class Found(NamedTuple):
    """What the store knows of a digest."""

    principal: Principal | None
    any_token: bool
    """Whether there is any token at all, a revoked one included."""


class Known(NamedTuple):
    """Who somebody is, and when the hub began to look that up."""

    looked_at: float
    principal: Principal | None
    is_admitted: bool
    """A hub without tokens admits everybody."""


def is_loopback(host: str) -> bool:
    """Whether this machine alone reaches what listens there. A name may come to mean anything, so it does not count."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Principals:
    """Principals by the digest of what they show. One look at the store serves all requests of a second."""

    def __init__(self, find: Callable[[str], Awaitable[Found]], *, is_wide: bool) -> None:
        """`is_wide`: others than this machine reach the hub, so it is closed even without any token."""
        self._find = find
        self._is_wide = is_wide
        self._owner = new_secret()  # nobody has it, until `run`
        self._known: dict[str, Known] = {}
        self._looking: dict[str, asyncio.Task[Known]] = {}
        self.served: dict[str, set[asyncio.Task[None]]] = {}
        """Requests that may take long, by credential. One that is cancelled because its credential has ended is taken
        out before."""

    @asynccontextmanager
    async def run(self, owner_key: str) -> AsyncIterator[None]:
        """Know the hub's own key; end the streams of those who may no longer read."""
        self._owner = digest_of(owner_key.encode())
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    def fresh(self, digest: str) -> Known | None:
        """What was found out within the last second, if anything."""
        known = self._known.get(digest)
        return known if known is not None and known.looked_at + CACHE_SEC > time.monotonic() else None

    async def look(self, digest: str) -> Known:
        """Ask the store; those who ask about the same credential meanwhile share the answer.

        Raises:
            DatabaseUnavailable: it does not answer.
        """
        looking = self._looking.get(digest)
        if looking is None:
            looking = self._looking[digest] = asyncio.create_task(self._look(digest))
            looking.add_done_callback(lambda _: self._looking.pop(digest, None))
        return await asyncio.shield(looking)

    async def _look(self, digest: str) -> Known:
        now = time.monotonic()
        if hmac.compare_digest(digest, self._owner):
            known = Known(now, OWNER, is_admitted=True)
        else:
            found = await self._find(digest)
            is_open = not (self._is_wide or found.any_token)
            known = Known(now, found.principal, is_open or found.principal is not None)
        # What is refused is looked up each time: a token counts from the moment when it exists.
        if known.is_admitted or digest == NOTHING:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[digest] = known
        return known

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SEC)
            self.served = {digest: tasks for digest, tasks in self.served.items() if tasks}
            for digest, tasks in list(self.served.items()):
                with suppress(DatabaseUnavailable):
                    if (self.fresh(digest) or await self.look(digest)).is_admitted:
                        continue
                    while tasks:
                        tasks.pop().cancel()
