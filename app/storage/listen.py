"""Hints from other hubs: PostgreSQL's LISTEN on a thread of its own."""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

CHANNEL = "relay_hub"
NOTIFY = text("SELECT pg_notify(:channel, :payload)")
_POLL_SEC = 1.0

logger = logging.getLogger("relay_hub.storage")


class Listener:
    """Passes on the topics that other hubs emit. A lost connection costs hints, which are allowed to be lost."""

    def __init__(self, engine: Engine, owner: str, heard: Callable[[Sequence[str]], None]) -> None:
        self._engine = engine
        self._owner = owner
        self._heard = heard
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay-hub-listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        with contextlib.suppress(SQLAlchemyError), self._engine.begin() as connection:
            # A word to ourselves ends the wait at once.
            connection.execute(NOTIFY, {"channel": CHANNEL, "payload": json.dumps([self._owner, []])})
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except Exception as error:
                logger.warning("listening for other hubs failed, trying again: %s", error)
                self._stop.wait(_POLL_SEC)

    def _listen(self) -> None:
        with self._engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(f"LISTEN {CHANNEL}")
            driver: Any = connection.connection.driver_connection
            while not self._stop.is_set():
                for notice in driver.notifies(timeout=_POLL_SEC, stop_after=1):
                    owner, topics = json.loads(notice.payload)
                    if owner != self._owner:
                        self._heard(topics)
            connection.exec_driver_sql(f"UNLISTEN {CHANNEL}")
