"""What the hub asks of an app-server, as typed methods; every failure is a HubError."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from app import __version__
from app.codex.failures import translated, unavailable
from app.codex.jsonrpc import Connection, ConnectionClosed, RequestTimedOut, RpcError, Transport
from app.codex.limits import Limits
from app.codex.protocol import Notification, Thread, Turn
from app.codex.questions import Answer, Questions, decline
from app.codex.watch import Watch, next_of
from app.errors import HubError, TargetBusy, TargetTurnFailed
from app.settings import Settings

logger = logging.getLogger("relay_hub.codex")

PAGE_SIZE = 100
"""The most that Codex gives at once."""
MAX_PAGES = 100
RACE_TRIES = 20
"""Codex refuses what comes while it opens a turn or closes a thread; both last a few milliseconds."""


class CodexClient:
    """One app-server. Every method raises AppServerUnavailable when it is gone, TargetBusy when
    another Codex holds the thread, ThreadNotFound, NoAnswer when it is silent for too long, and InternalError for
    what is unforeseen."""

    def __init__(self, transport: Transport, settings: Settings, answer: Answer | None = None) -> None:
        self._timeout = settings.codex_request_timeout_ms / 1000
        # Its own queue is all that we ever want of what Codex calls experimental.
        self._capabilities = {"experimentalApi": True} if settings.codex_when_held == "queue" else None
        self._watches: dict[str, list[Watch]] = {}
        self._without_turns: dict[str, Any] = {"excludeTurns": True}
        self.closed: str | None = None
        """Why the connection has ended; None while it lives."""
        self._questions = Questions(answer or decline, self._item)
        self._connection = Connection(transport, self._notified, self._questions.asked, self._connection_closed)
        self.version = ""
        """Of Codex, as "0.169.0"; known after `initialize`."""

    async def initialize(self) -> None:
        """Shake hands; everything else is refused before.

        Raises:
            AppServerUnavailable: no proper answer in time.
        """
        client = {"name": "relay-hub", "title": "Relay Hub", "version": __version__}
        try:
            answer = await self._connection.request(
                "initialize", {"clientInfo": client, "capabilities": self._capabilities}, self._timeout
            )
            await self._connection.notify("initialized")
        except (ConnectionClosed, RequestTimedOut, RpcError) as error:
            raise unavailable(str(error)) from error
        agent = str(answer.get("userAgent", ""))
        self.version = agent.partition("/")[2].partition(" ")[0]

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def config(self) -> dict[str, Any]:
        """Codex's effective configuration; `projects` holds the trusted ones."""
        config = (await self._call("config/read", {})).get("config")
        return config if isinstance(config, dict) else {}

    async def threads(self, cwd: str | None = None) -> list[Thread]:
        """All threads that are not archived, newest first; of one folder if `cwd` is given.
        Codex lists a thread from its first message on."""
        params: dict[str, Any] = {"archived": False, "limit": PAGE_SIZE}
        if cwd is not None:
            params["cwd"] = cwd
        threads: list[Thread] = []
        for _ in range(MAX_PAGES):
            page = await self._call("thread/list", params)
            threads += [Thread.parse(row) for row in _rows(page)]
            if not page.get("nextCursor"):
                return threads
            params["cursor"] = page["nextCursor"]
        logger.warning("codex app-server: more than %d threads; the rest is not seen", len(threads))
        return threads

    async def thread(self, thread_id: str) -> Thread:
        """A thread without its turns. Reading neither loads nor reserves it."""
        params = {"threadId": thread_id, "includeTurns": False}
        return _thread(await self._call("thread/read", params, thread_id), "thread/read")

    async def start_thread(self, cwd: str, limits: Limits) -> Thread:
        """A new thread, loaded. Name it at once: before, it does not survive the app-server.

        In a git folder that Codex does not trust, this makes Codex trust it for good, unless
        the sandbox is read-only. So ask first whether the project is trusted.
        """
        params = {"cwd": cwd, **limits.of_thread}
        return _thread(await self._call("thread/start", params), "thread/start")

    async def name_thread(self, thread_id: str, name: str) -> None:
        await self._call("thread/name/set", {"threadId": thread_id, "name": name}, thread_id)

    async def resume(self, thread_id: str, limits: Limits | None = None) -> Thread:
        """Load the thread and hold it against every other Codex, until `unsubscribe`. A thread that
        Codex is just unloading is loaded again as soon as that is done. Limits count for one that is not loaded yet."""
        params: dict[str, Any] = {"threadId": thread_id, **(limits.of_thread if limits else {})}
        with self.watch(thread_id) as watch, translated(thread_id):
            for _ in range(RACE_TRIES):
                try:
                    answer = await self._request("thread/resume", {**params, **self._without_turns})
                    return _thread(answer, "thread/resume")
                except RpcError as error:
                    if self._without_turns and "experimentalApi" in error.message:
                        self._without_turns = {}  # Codex before 0.163: its answer is long
                        continue
                    if "is closing" not in error.message:
                        raise
                await next_of(watch, "thread/closed")
        raise TargetBusy(f"Thread {thread_id} does not finish closing.", threadId=thread_id)

    async def loaded(self) -> list[str]:
        """Threads that somebody holds, or whose turn runs."""
        found = (await self._call("thread/loaded/list", {})).get("data")
        return [str(thread_id) for thread_id in found] if isinstance(found, list) else []

    async def unsubscribe(self, thread_id: str) -> None:
        """Let go of the thread: Codex unloads it as soon as no turn runs."""
        await self._call("thread/unsubscribe", {"threadId": thread_id}, thread_id)

    async def start_turn(
        self, thread_id: str, text: str, client_message_id: str, overrides: dict[str, Any] | None = None
    ) -> str:
        """Send a message to a loaded, idle thread; the id of its turn. On a thread whose turn runs
        this joins that turn. That it returned does not mean that the message is stored.
        `overrides` are those of `Limits.of_turn`.

        Raises:
            TargetTurnFailed: Codex started nothing.
        """
        params = {
            "threadId": thread_id,
            "input": [{"type": "text", "text": text}],
            "clientUserMessageId": client_message_id,
            **(overrides or {}),
        }
        answer = await self._call("turn/start", params, thread_id)
        turn = answer.get("turn")
        turn_id = Turn.parse(turn).id if isinstance(turn, dict) else ""
        if not turn_id:
            raise TargetTurnFailed("turn/start did not return a turn id.", threadId=thread_id)
        return turn_id

    async def queue_message(self, thread_id: str, text: str, client_message_id: str) -> None:
        """Leave a message for whichever Codex has the thread open, or opens it next: it becomes a turn of its own.
        Only where the setting `codex_when_held` says so."""
        entry = {"threadId": thread_id, "input": [{"type": "text", "text": text}]}
        await self._call("thread/queue/add", {**entry, "clientUserMessageId": client_message_id}, thread_id)

    async def queued(self, thread_id: str) -> dict[str, str]:
        """What waits in a thread's queue: the ids of entries by our ids of their messages."""
        page = await self._call("thread/queue/list", {"threadId": thread_id, "limit": PAGE_SIZE}, thread_id)
        return {str(row.get("clientUserMessageId")): str(row.get("id")) for row in _rows(page)}

    async def unqueue(self, thread_id: str, entry_id: str) -> bool:
        """Take a message out of the queue; whether it was there: one that has begun is not any more."""
        params = {"threadId": thread_id, "queuedSubmissionId": entry_id}
        return (await self._call("thread/queue/delete", params, thread_id)).get("deleted") is True

    async def turns(self, thread_id: str, limit: int = 20, full: bool = False) -> list[Turn]:
        """The newest turns, newest first, each with its user messages and its final answer, or with all its items.
        A turn that runs in another process reads as `interrupted`, exactly as one cut short."""
        with translated(thread_id):
            try:
                view = "full" if full else "summary"
                params: dict[str, Any] = {"threadId": thread_id, "limit": limit, "itemsView": view}
                page = await self._request("thread/turns/list", params)
            except RpcError as error:
                if "not materialized" in error.message:
                    return []
                if not any(old in error.message for old in ("experimentalApi", "unknown variant")):
                    raise
                # Codex before 0.163; it lists the oldest first.
                params = {"threadId": thread_id, "includeTurns": True}
                thread = (await self._request("thread/read", params)).get("thread") or {}
                return [Turn.parse(row) for row in reversed(_rows(thread, "turns"))][:limit]
        return [Turn.parse(row) for row in _rows(page)]

    async def interrupt(self, thread_id: str, turn_id: str) -> bool:
        """Stop the turn; whether Codex took it. False: the turn does not run (any more).

        Between the answer to turn/start and turn/started, Codex says that nothing runs, and
        then runs the turn: so that answer counts only when it stays for two seconds.
        """
        params = {"threadId": thread_id, "turnId": turn_id}
        with self.watch(thread_id) as watch, translated(thread_id):
            for _ in range(RACE_TRIES):
                try:
                    await self._request("turn/interrupt", params)
                except RpcError as error:
                    if "expected active turn id" in error.message:
                        return False
                    if "no active turn to interrupt" not in error.message:
                        raise
                else:
                    return True
                change = await next_of(watch, "turn/started", "turn/completed", turn_id=turn_id)
                if change == "turn/completed":
                    return False
        return False

    @contextlib.contextmanager
    def watch(self, thread_id: str) -> Iterator[Watch]:
        """Listen to a thread. Open it before the request whose consequences you want to see."""
        watch = Watch()
        if self.closed is not None:
            watch.end(self.closed)
        self._watches.setdefault(thread_id, []).append(watch)
        try:
            yield watch
        finally:
            self._watches[thread_id].remove(watch)
            if not self._watches[thread_id]:
                del self._watches[thread_id]

    async def _call(self, method: str, params: dict[str, Any], thread_id: str | None = None) -> dict[str, Any]:
        with translated(thread_id):
            return await self._request(method, params)

    async def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return await self._connection.request(method, params, self._timeout)

    async def _item(self, thread_id: str, item_id: str) -> dict[str, Any] | None:
        """An item of the turn that runs, by its id. Lists of turns leave out what is not stored yet; loading tells."""
        try:
            thread = (await self._call("thread/resume", {"threadId": thread_id}, thread_id)).get("thread") or {}
        except HubError as error:
            logger.warning("codex app-server: item %s of thread %s is not to be had: %s", item_id, thread_id, error)
            return None
        items = (item for turn in reversed(_rows(thread, "turns")) for item in _rows(turn, "items"))
        return next((item for item in items if item.get("id") == item_id), None)

    def _notified(self, method: str, params: dict[str, Any]) -> None:
        self._questions.notified(method, params)
        thread_id = params.get("threadId")
        if isinstance(thread_id, str):
            for watch in self._watches.get(thread_id, ()):
                watch.put(Notification(method, params))

    def _connection_closed(self, reason: str) -> None:
        self.closed = reason
        for watches in self._watches.values():
            for watch in watches:
                watch.end(reason)


def _rows(page: dict[str, Any], key: str = "data") -> list[dict[str, Any]]:
    rows = page.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _thread(answer: dict[str, Any], method: str) -> Thread:
    data = answer.get("thread")
    thread = Thread.parse(data, answer.get("sandbox")) if isinstance(data, dict) else None
    if thread is None or not thread.id:
        raise TargetTurnFailed(f"{method} did not return a thread id.")
    return thread
