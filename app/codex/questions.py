"""What an app-server asks while a turn runs, and what is known of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from app.codex.jsonrpc import METHOD_NOT_FOUND, NoReply, RpcError

logger = logging.getLogger("relay_hub.codex")

COMMAND = "item/commandExecution/requestApproval"
FILES = "item/fileChange/requestApproval"
PERMISSIONS = "item/permissions/requestApproval"
INPUT = "item/tool/requestUserInput"
ELICITATION = "mcpServer/elicitation/request"

MOST_ITEMS = 1000
"""As many items under way are remembered; each ends with its turn at the latest."""


@dataclass(eq=False)
class Question:
    """A request of the app-server that wants an answer."""

    id: Any
    """The app-server's number of it: the same when it is asked again on another connection."""
    method: str
    params: dict[str, Any]
    item: dict[str, Any] | None = None
    """The item that it is about, where Codex has told of it."""
    resolved: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when Codex waits for no answer any more."""

    @property
    def thread_id(self) -> str:
        return _text(self.params.get("threadId"))

    @property
    def turn_id(self) -> str:
        return _text(self.params.get("turnId"))

    @property
    def item_id(self) -> str:
        return _text(self.params.get("itemId")) or _text((self.item or {}).get("id"))


Answer = Callable[[Question], Awaitable[dict[str, Any]]]

_DECLINED: dict[str, dict[str, Any]] = {
    COMMAND: {"decision": "decline"},
    FILES: {"decision": "decline"},
    INPUT: {"answers": {}},
    ELICITATION: {"action": "decline", "content": None, "_meta": None},
    PERMISSIONS: {"permissions": {}, "scope": "turn"},
}


async def decline(question: Question) -> dict[str, Any]:
    """The answer when nobody can be asked: no. A turn whose question stays open waits for ever.

    Raises:
        RpcError: the question is unknown; Codex takes that for a no, too.
    """
    try:
        return _DECLINED[question.method]
    except KeyError:
        raise RpcError(METHOD_NOT_FOUND, f"{question.method} is not supported") from None


class Questions:
    """The questions of one connection that wait, and the items that they can be about."""

    def __init__(self, answer: Answer, find: Callable[[str, str], Awaitable[dict[str, Any] | None]]) -> None:
        """`find` looks for an item of a thread by its id: one that had begun before this connection."""
        self._answer = answer
        self._find = find
        self._items: dict[tuple[str, str], dict[str, Any]] = {}
        self._waiting: dict[str, Question] = {}

    async def asked(self, request_id: Any, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request of the app-server.

        Raises:
            NoReply: Codex waits for it no more, or the same request is under way already.
            RpcError: the request is unknown.
        """
        key = repr(request_id)
        waiting = self._waiting.get(key)
        if waiting is not None and (waiting.method, waiting.params) == (method, params):
            raise NoReply  # a thread that is loaded once more tells its open questions once more
        question = Question(request_id, method, params, self._item(method, params))
        self._waiting[key] = question
        try:
            if method == FILES and question.item is None:
                question.item = await self._find(question.thread_id, question.item_id)
            return await self._answer(question)
        finally:
            if self._waiting.get(key) is question:
                del self._waiting[key]

    def notified(self, method: str, params: dict[str, Any]) -> None:
        """Take note of what is told: items that begin and end, questions that are settled."""
        thread_id = _text(params.get("threadId"))
        match method:
            case "item/started" if isinstance(item := params.get("item"), dict):
                if item.get("type") in ("fileChange", "mcpToolCall") and len(self._items) < MOST_ITEMS:
                    self._items[thread_id, _text(item.get("id"))] = item
            case "item/fileChange/patchUpdated":
                if item := self._items.get((thread_id, _text(params.get("itemId")))):
                    item["changes"] = params.get("changes")
            case "item/completed" if isinstance(item := params.get("item"), dict):
                self._items.pop((thread_id, _text(item.get("id"))), None)
            case "turn/completed" | "thread/closed":
                for key in [key for key in self._items if key[0] == thread_id]:
                    del self._items[key]
            case "serverRequest/resolved":
                question = self._waiting.get(repr(params.get("requestId")))
                if question is not None and question.thread_id == thread_id:
                    question.resolved.set()

    def _item(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        thread_id = _text(params.get("threadId"))
        if method != ELICITATION:
            return self._items.get((thread_id, _text(params.get("itemId"))))
        # An MCP server's question names no item: it is the call to that server that waits, if there is but one.
        calls = [
            item
            for (owner, _), item in self._items.items()
            if owner == thread_id and item.get("server") == params.get("serverName")
        ]
        return calls[0] if len(calls) == 1 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
