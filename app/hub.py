"""The hub: one object graph, started and stopped in order."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.bus import Bus
from app.chat import Chat
from app.dispatch.service import Dispatches
from app.logs import Logs
from app.settings import Settings
from app.storage.database import Database


class Hub:
    """Everything that the doors use. Built without side effects; `run` brings it to life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.owner = f"{settings.node}:{uuid.uuid4().hex[:8]}"
        self.bus = Bus()
        self.logs = Logs(settings)
        self.database = Database(settings.database, self.owner, self.bus.publish)
        self.chat = Chat(settings, self.database, self.bus, self.logs)
        self.dispatches = Dispatches(settings, self.database, self.bus, self.logs, self.owner)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Open the database, start the engine; stop in the opposite order.

        Raises:
            CannotStart: the database is in use, too new, or a log cannot be written.
        """
        with self.logs.open():
            await self.database.open()
            try:
                async with self.chat.run(), self.dispatches.run():
                    yield
            finally:
                self.bus.close()
                await self.database.close()
