"""Group commit: units that arrive while one commit is on its way share the next one.

SQLite has a single writer and pays one fsync a commit. One thread owns the write connection; whatever waits in its
queue becomes one transaction, each unit in a savepoint of its own. Alone, a unit costs what it would cost anyway.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

Unit = Callable[[Connection], tuple[Any, list[str]]]
_Result = tuple[asyncio.Future[Any], Any, BaseException | None]

MOST_AT_ONCE = 512


class GroupCommit:
    """The one writer of a SQLite database, on a thread of its own."""

    def __init__(self, connection: Connection, publish: Callable[[Sequence[str]], None]) -> None:
        self._connection = connection
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Unit, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="relay-hub-write", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit) -> "asyncio.Future[Any]":
        """Queue `unit`; the future is done once its transaction is durable and its topics are published."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((unit, future))
        return future

    def close(self) -> None:
        """Commit what is queued, then end the thread."""
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        going = True
        while going:
            batch = []
            item = self._queue.get()
            while item is not None:
                batch.append(item)
                if len(batch) == MOST_AT_ONCE:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            going = item is not None
            if batch:
                results, topics = self._commit(batch)
                # One wake-up of the loop for all: each costs a system call.
                self._loop.call_soon_threadsafe(self._settle, results, topics)

    def _commit(self, batch: list[tuple[Unit, "asyncio.Future[Any]"]]) -> tuple[list[_Result], list[str]]:
        results: list[_Result] = []
        topics: dict[str, None] = {}
        try:
            with self._connection.begin():
                driver: Any = self._connection.connection.driver_connection
                for unit, future in batch:
                    # A caller that has gone away withdraws its unit only as long as that has not begun.
                    if future.cancelled():
                        continue
                    driver.execute("SAVEPOINT unit")
                    try:
                        result, emitted = unit(self._connection)
                    except Exception as error:
                        if not driver.in_transaction:
                            # A full disk or the like: SQLite dropped the earlier units as well.
                            raise
                        driver.execute("ROLLBACK TO unit")
                        results.append((future, None, error))
                    else:
                        results.append((future, result, None))
                        topics.update(dict.fromkeys(emitted))
                    driver.execute("RELEASE unit")
        except BaseException as error:  # the commit itself failed: nobody may believe it happened
            return [(future, None, error) for _, future in batch], []
        return results, list(topics)

    def _settle(self, results: list[_Result], topics: list[str]) -> None:
        """On the loop: hints first, so that whoever reads after the answer looks at the database again."""
        self._publish(topics)
        for future, result, error in results:
            if future.done():
                continue
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)
