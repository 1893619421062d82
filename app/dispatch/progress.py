"""What a turn says and does while it runs, gathered from notifications in bounded form."""

import json
import shlex
import time
from collections.abc import Iterable
from typing import Any

from app.codex.protocol import Notification
from app.models import TurnItem

MOST_ITEMS = 200
MOST_TEXT = 16_000
MOST_TITLE = 2_000
MOST_DIFF = 256_000
MOST_TOKENS = 10**12
MOST_COMMAND = 20_000
"""Characters of a command that is looked at for its shell: reading a longer one takes long, and it is cut anyway."""

KINDS = {
    "agentMessage": "message",
    "commandExecution": "command",
    "fileChange": "files",
    "mcpToolCall": "tool",
    "dynamicToolCall": "tool",
    "plan": "plan",
    "reasoning": "reasoning",
    "webSearch": "search",
}
PLAN_ID = "plan"
_MARKS = {"completed": "[x]", "inProgress": "[>]"}
_DELTAS = {
    "item/agentMessage/delta": "message",
    "item/commandExecution/outputDelta": "command",
    "item/reasoning/summaryTextDelta": "reasoning",
    "item/plan/delta": "plan",
}


class Progress:
    """The items of one turn, and which of them changed since they were stored last."""

    def __init__(self, dispatch_id: str, known: Iterable[TurnItem] = ()) -> None:
        """`known` are the items that an earlier worker has stored."""
        self._dispatch_id = dispatch_id
        self._items = {item.item_id: item for item in known}
        self._changed: dict[str, TurnItem] = {}
        self._values: dict[str, Any] = {}
        self._usage: dict[str, int] = {}
        self._growing: dict[str, _Growing] = {}

    @property
    def is_dirty(self) -> bool:
        return bool(self._changed or self._values)

    def taken(self) -> tuple[list[TurnItem], dict[str, Any]]:
        """What is to be stored: changed items, and values of the dispatch. They count as stored from now on."""
        taken = [item.model_copy() for item in self._changed.values()], self._values
        self._changed, self._values = {}, {}
        return taken

    def not_stored(self, values: dict[str, Any]) -> None:
        """What was taken could not be stored after all."""
        self._changed = {**self._items}
        self._values = {**values, **self._values}

    def feed(self, notification: Notification) -> None:
        """Take in a notification of the turn's thread; whatever is of no interest is passed over."""
        params = notification.params
        match notification.method:
            case "item/started" | "item/completed" if isinstance(item := params.get("item"), dict):
                self.item(item, ended=notification.method == "item/completed")
            case method if kind := _DELTAS.get(method):
                self._grow(_text(params.get("itemId")), kind, _text(params.get("delta")))
            case "turn/diff/updated":
                self._values["diff"] = shortened(_text(params.get("diff")), MOST_DIFF)
            case "turn/plan/updated":
                self._plan(params.get("plan"))
            case "thread/tokenUsage/updated":
                self._tokens(params.get("tokenUsage"))

    def item(self, item: dict[str, Any], ended: bool) -> None:
        """Take in an item as Codex describes it."""
        kind = _text(item.get("type"))
        if kind in ("", "userMessage"):
            return
        title, text = _described(item)
        entry = self._entry(_text(item.get("id")), KINDS.get(kind, kind))
        if entry is not None:
            entry.title = shortened(title, MOST_TITLE)
            entry.text = shortened(text, MOST_TEXT) or entry.text
            entry.status = _text(item.get("status"))[:32] or ("completed" if ended else "inProgress")
            if ended:
                self._growing.pop(entry.item_id, None)
            self._touch(entry)

    def _grow(self, item_id: str, kind: str, delta: str) -> None:
        entry = self._entry(item_id, kind)
        if entry is not None and delta:
            if entry.item_id not in self._growing:
                self._growing[entry.item_id] = _Growing(MOST_TEXT, entry.text)
            entry.text = self._growing[entry.item_id].add(delta)
            entry.status = "inProgress"
            self._touch(entry)

    def _plan(self, steps: Any) -> None:
        entry = self._entry(PLAN_ID, "plan")
        if entry is None or not isinstance(steps, list):
            return
        rows = [step for step in steps if isinstance(step, dict)]
        lines = [f"{_MARKS.get(_text(row.get('status')), '[ ]')} {_text(row.get('step'))}" for row in rows]
        entry.text = shortened("\n".join(lines), MOST_TEXT)
        entry.status = "completed" if all(row.get("status") == "completed" for row in rows) else "inProgress"
        self._touch(entry)

    def _tokens(self, usage: Any) -> None:
        last = usage.get("last") if isinstance(usage, dict) else None
        if not isinstance(last, dict):
            return
        for name in ("inputTokens", "cachedInputTokens", "outputTokens", "totalTokens"):
            if _is_count(last.get(name)):
                self._usage[name] = self._usage.get(name, 0) + last[name]
        if _is_count(usage.get("modelContextWindow")):
            self._usage["contextWindow"] = usage["modelContextWindow"]
        self._values["usage"] = json.dumps(self._usage)

    def _entry(self, item_id: str, kind: str) -> TurnItem | None:
        """The item to change; None where there are as many as we keep."""
        entry = self._items.get(item_id)
        if entry is None and item_id and len(self._items) < MOST_ITEMS:
            entry = self._items[item_id] = TurnItem(
                dispatch_id=self._dispatch_id, item_id=item_id[:200], position=len(self._items), kind=kind[:32]
            )
        return entry

    def _touch(self, entry: TurnItem) -> None:
        entry.updated_at = time.time()
        self._changed[entry.item_id] = entry


class _Growing:
    """A text that comes in parts, of which the beginning and the end are kept."""

    def __init__(self, most: int, text: str = "") -> None:
        self._half = most // 2
        self._head = ""
        self._tail = ""
        self._missing = 0
        self.add(text)

    def add(self, part: str) -> str:
        """The whole so far; where it is too long, it says how much is left out in the middle."""
        # PostgreSQL stores no NUL, and half a surrogate pair has no bytes.
        part = part.replace("\0", "\ufffd").encode(errors="replace").decode()
        room = self._half - len(self._head)
        self._head += part[:room]
        tail = self._tail + part[room:]
        self._tail = tail[-self._half :]
        self._missing += len(tail) - len(self._tail)
        gap = f"\n… {self._missing} characters left out …\n" if self._missing else ""
        return f"{self._head}{gap}{self._tail}"


def shortened(text: str, most: int) -> str:
    """A text of at most about `most` characters: its beginning and its end, and how much is missing between."""
    return _Growing(most).add(text)


def _described(item: dict[str, Any]) -> tuple[str, str]:
    """Title and text of an item."""
    match item.get("type"):
        case "agentMessage":
            return "", _text(item.get("text"))
        case "commandExecution":
            code = item.get("exitCode")
            ended = f"\n(exit code {code})" if isinstance(code, int) and code else ""
            return _command(_text(item.get("command"))), f"{_text(item.get('aggregatedOutput'))}{ended}"
        case "fileChange":
            changes = [change for change in _list(item.get("changes")) if isinstance(change, dict)]
            return ", ".join(_text(change.get("path")) for change in changes), "\n".join(map(as_diff, changes))
        case "mcpToolCall" | "dynamicToolCall":
            owner = _text(item.get("server")) or _text(item.get("namespace"))
            name = ".".join(filter(None, (owner, _text(item.get("tool")))))
            return name, "\n".join(_json(item[key]) for key in ("arguments", "result", "error") if item.get(key))
        case "reasoning":
            return "", "\n\n".join(filter(None, map(_text, _list(item.get("summary")))))
        case "plan":
            return "", _text(item.get("text"))
        case "webSearch":
            return _text(item.get("query")), ""
    return "", ""


def _command(line: str) -> str:
    """The command itself, without the shell that Codex runs it in."""
    if len(line) > MOST_COMMAND:
        return line
    try:
        words = shlex.split(line)
    except ValueError:
        return line
    is_wrapped = len(words) == 3 and words[0].endswith("sh") and words[1] in ("-c", "-lc")
    return words[2] if is_wrapped else line


def as_diff(change: dict[str, Any]) -> str:
    """A change of one file as a unified diff. Of a file that is new or gone Codex gives the text alone."""
    path, text = _text(change.get("path")), _text(change.get("diff")).rstrip("\n")
    kind = change.get("kind")
    lines = text.split("\n") if text else []
    match kind.get("type") if isinstance(kind, dict) else kind:
        case "add":
            head, sign = f"--- /dev/null\n+++ {path}\n@@ -0,0 +1,{len(lines)} @@\n", "+"
        case "delete":
            head, sign = f"--- {path}\n+++ /dev/null\n@@ -1,{len(lines)} +0,0 @@\n", "-"
        case _:
            return f"--- {path}\n+++ {path}\n{text}"
    return head + "\n".join(f"{sign}{line}" for line in lines)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, indent=1)
    except RecursionError:
        return "(nested too deeply to be shown)"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= MOST_TOKENS


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
