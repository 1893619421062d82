"""The hub: one object graph, started and stopped in order."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.bus import Bus
from app.chat import Chat
from app.dispatch.service import Dispatches
from app.errors import CannotStart
from app.logs import Logs
from app.security import owner_key
from app.security.principals import Found, Principals, is_loopback
from app.settings import Settings
from app.storage import principals
from app.storage.database import Database


class Hub:
    """Everything that the doors use. Built without side effects; `run` brings it to life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.owner = f"{settings.node}:{uuid.uuid4().hex[:8]}"
        self.bus = Bus()
        self.logs = Logs(settings)
        self.database = Database(settings.database, self.owner, self.bus.publish)
        self._is_wide = not is_loopback(settings.host)
        self.principals = Principals(self._find, is_wide=self._is_wide)
        self.chat = Chat(settings, self.database, self.bus, self.logs)
        self.dispatches = Dispatches(settings, self.database, self.bus, self.logs, self.owner)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Open the database, start the engine; stop in the opposite order.

        Raises:
            CannotStart: the database is in use, too new, or a log cannot be written; or others than this machine would
                reach the hub, and nobody has a token.
        """
        with self.logs.open():
            await self.database.open()
            try:
                await self._refuse_to_be_open()
                key = owner_key.ensure(self.settings.data_dir)
                async with self.principals.run(key), self.chat.run(), self.dispatches.run():
                    yield
            finally:
                self.bus.close()
                await self.database.close()

    async def _find(self, digest: str) -> Found:
        return await self.database.read(_found, digest)

    async def _refuse_to_be_open(self) -> None:
        if self._is_wide and not await self.database.read(principals.any_valid):
            raise CannotStart(
                f"host is {self.settings.host}: others than this machine could reach the hub, and nobody has a token "
                "that counts. Make one first, by relay-hub token create NAME, or set host to 127.0.0.1."
            )


def _found(session: Any, digest: str) -> Found:
    return Found(principals.principal(session, digest) if digest else None, principals.any_token(session))
