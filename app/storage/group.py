"""Group commit: units that arrive while one commit is on its way share the next one.

SQLite has a single writer and pays one fsync a commit. One thread owns the write connection; whatever waits in its
queue becomes one transaction, each unit in a savepoint of its own. Alone, a unit costs what it would cost anyway.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection

Unit = Callable[[Connection], tuple[Any, list[str]]]

MOST_AT_ONCE = 512


class GroupCommit:
    """The one writer of a SQLite database, on a thread of its own."""

    def __init__(self, connection: Connection, committed: Callable[[Sequence[str]], None]) -> None:
        self._connection = connection
        self._committed = committed
        self._queue: queue.SimpleQueue[tuple[Unit, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="relay-hub-write", daemon=True)
        self._thread.start()

    def submit(self, unit: Unit) -> "Future[Any]":
        """Queue `unit`; the future is done once its transaction is durable."""
        future: Future[Any] = Future()
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
                self._commit(batch)

    def _commit(self, batch: list[tuple[Unit, "Future[Any]"]]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        topics: dict[str, None] = {}
        try:
            with self._connection.begin():
                driver: Any = self._connection.connection.driver_connection
                for unit, future in batch:
                    # A caller that has gone away withdraws its unit only as long as that has not begun.
                    if not future.set_running_or_notify_cancel():
                        continue
                    driver.execute("SAVEPOINT unit")
                    try:
                        result, emitted = unit(self._connection)
                    except Exception as error:
                        if not driver.in_transaction:
                            # A full disk or the like: SQLite dropped the earlier units as well.
                            raise
                        driver.execute("ROLLBACK TO unit")
                        future.set_exception(error)
                    else:
                        done.append((future, result))
                        topics.update(dict.fromkeys(emitted))
                    driver.execute("RELEASE unit")
        except BaseException as error:  # the commit itself failed: nobody may believe it happened
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self._committed(list(topics))
        for future, result in done:
            future.set_result(result)
