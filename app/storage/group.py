"""Group commit: units that arrive while one commit is on its way share the next one.

SQLite has a single writer and pays one fsync a commit. One thread owns the write connection; whatever waits in its
queue becomes one transaction, each unit in a savepoint of its own. Alone, a unit costs what it would cost anyway.

Each statement makes this thread and the event loop wait for each other, so calls of one unit that came together are run
as one call where the unit takes many.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection

Run = Callable[[Connection, Any, list[Any]], tuple[list[Any], list[str]]]
"""Runs a unit for these arguments; as many results, and topics."""
_Result = tuple[asyncio.Future[Any], Any, BaseException | None]


class _Call(NamedTuple):
    unit: Any
    argument: Any
    future: asyncio.Future[Any]


MOST_AT_ONCE = 512


class GroupCommit:
    """The one writer of a SQLite database, on a thread of its own."""

    def __init__(self, connection: Connection, run: Run, publish: Callable[[Sequence[str]], None]) -> None:
        self._connection = connection
        self._run_unit = run
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[_Call] | None] = queue.SimpleQueue()
        self._gathered: list[_Call] = []
        self._thread = threading.Thread(target=self._run, name="relay-hub-write", daemon=True)
        self._thread.start()

    def submit(self, unit: Any, argument: Any) -> "asyncio.Future[Any]":
        """Queue a call of `unit` for an argument; the future is done once it is durable and its topics are out."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._gathered.append(_Call(unit, argument, future))
        if len(self._gathered) == 1:
            # After everybody who is ready now: calls that come in one turn of the loop are one commit.
            self._loop.call_soon(self._hand_over)
        return future

    async def close(self) -> None:
        """Commit what was submitted, then end the thread."""
        self._hand_over()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _hand_over(self) -> None:
        calls, self._gathered = self._gathered, []
        self._queue.put(calls)

    def _run(self) -> None:
        going = True
        while going:
            batch: list[_Call] = []
            calls = self._queue.get()
            while calls is not None:
                batch += calls
                if len(batch) >= MOST_AT_ONCE:
                    break
                try:
                    calls = self._queue.get_nowait()
                except queue.Empty:
                    break
            going = calls is not None
            if batch:
                results, topics = self._commit(batch)
                # One wake-up of the loop for all: each costs a system call.
                self._loop.call_soon_threadsafe(self._settle, results, topics)

    def _commit(self, batch: list[_Call]) -> tuple[list[_Result], list[str]]:
        results: list[_Result] = []
        topics: dict[str, None] = {}
        try:
            with self._connection.begin():
                for unit, together in groupby(batch, key=lambda call: call.unit):
                    # A caller that has gone away withdraws its call only as long as that has not begun.
                    calls = [call for call in together if not call.future.cancelled()]
                    for done, emitted in self._run_calls(unit, calls) if calls else ():
                        results += done
                        topics.update(dict.fromkeys(emitted))
        except BaseException as error:  # the commit itself failed: nobody may believe it happened
            return [(call.future, None, error) for call in batch], []
        return results, list(topics)

    def _run_calls(self, unit: Any, calls: list[_Call]) -> Iterator[tuple[list[_Result], list[str]]]:
        """All at once; if that fails, each by itself, so that one takes no other down with it."""
        driver: Any = self._connection.connection.driver_connection
        driver.execute("SAVEPOINT unit")
        try:
            done, emitted = self._run_unit(self._connection, unit, [call.argument for call in calls])
        except Exception as error:
            if not driver.in_transaction:
                # A full disk or the like: SQLite dropped the earlier units as well.
                raise
            driver.execute("ROLLBACK TO unit")
            driver.execute("RELEASE unit")
            if len(calls) > 1:
                for call in calls:
                    yield from self._run_calls(unit, [call])
            else:
                yield [(calls[0].future, None, error)], []
        else:
            driver.execute("RELEASE unit")
            yield [(call.future, result, None) for call, result in zip(calls, done, strict=True)], emitted

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
