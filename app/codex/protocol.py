"""What the app-server says, read leniently: unknown fields are ignored, missing ones tolerated.

Codex 0.130 to 0.169 differ in what they send where; `TurnLog` holds the rules that fit all of them.
"""

from dataclasses import dataclass, field
from typing import Any, Self

YEAR_10000 = 253_402_300_800

RUNNING = frozenset({"queued", "running", "inProgress"})


@dataclass(frozen=True, slots=True)
class Notification:
    method: str
    params: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation. Times are UNIX seconds."""

    id: str
    name: str | None
    preview: str
    cwd: str
    status: str
    """`notLoaded`, `idle`, `active`, `systemError` or `unknown`; of the process that answered."""
    created_at: float | None
    updated_at: float | None
    sandbox: dict[str, Any] | None = None
    """That of its turns, told of a thread that was just loaded."""

    @classmethod
    def parse(cls, data: dict[str, Any], sandbox: Any = None) -> Self:
        status = data.get("status")
        return cls(
            id=_text(data.get("id")),
            name=_text(data.get("name")) or None,
            preview=_text(data.get("preview")),
            cwd=_text(data.get("cwd")),
            status=_text(status.get("type") if isinstance(status, dict) else status) or "unknown",
            created_at=_seconds(data.get("createdAt")),
            updated_at=_seconds(data.get("updatedAt")),
            sandbox=sandbox if isinstance(sandbox, dict) else None,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """A request and its answer. Times are UNIX seconds; `error` is the message alone."""

    id: str
    status: str
    items: tuple[dict[str, Any], ...]
    error: str | None
    started_at: float | None
    completed_at: float | None

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Self:
        items = data.get("items")
        return cls(
            id=_text(data.get("id")),
            status=_text(data.get("status")) or "unknown",
            items=tuple(i for i in items if isinstance(i, dict)) if isinstance(items, list) else (),
            error=_error_text(data.get("error")),
            started_at=_seconds(data.get("startedAt")),
            completed_at=_seconds(data.get("completedAt")),
        )

    @property
    def ended(self) -> bool:
        """An unknown status counts as an end: waiting on it could last for ever."""
        return bool(self.completed_at) or self.status not in RUNNING

    def has_message(self, client_message_id: str) -> bool:
        """Whether the user message with this id of ours is part of the turn."""
        return any(_is_message(item, client_message_id) for item in self.items)


@dataclass(frozen=True, slots=True)
class TurnResult:
    turn_id: str | None
    status: str
    reply: str | None
    """The final answer, trimmed; None when the turn said nothing."""
    error: str | None

    @property
    def succeeded(self) -> bool:
        return self.status == "completed" and self.error is None


def reply_of(items: list[dict[str, Any]] | tuple[dict[str, Any], ...]) -> str | None:
    """The last final answer, else the last message that is no commentary, else the last message;
    blank ones do not count."""
    said = [
        (item.get("phase"), text)
        for item in items
        if item.get("type") == "agentMessage" and (text := _text(item.get("text")).strip())
    ]
    final = [text for phase, text in said if phase == "final_answer"]
    plain = [text for phase, text in said if phase != "commentary"]
    candidates = final or plain or [text for _, text in said]
    return candidates[-1] if candidates else None


def turn_result(turn: Turn) -> TurnResult:
    """The result of a turn that was read back from its thread."""
    return TurnResult(turn.id, turn.status, reply_of(turn.items), turn.error)


@dataclass(slots=True)
class _Seen:
    """What was said about one turn."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: str | None = None
    end: Turn | None = None


class TurnLog:
    """Everything told about the turn that our message started, in whatever order it comes.

    Notifications may precede the answer to turn/start, and a thread may tell of another turn first.
    So the turn is known by the answer (`turn_id` set from outside) or by our message in it,
    whichever is first.
    """

    def __init__(self, client_message_id: str, turn_id: str | None = None) -> None:
        self.turn_id = turn_id
        self.accepted = False
        """Whether Codex has stored our message: only then is it sure to survive a crash."""
        self._client_message_id = client_message_id
        self._turns: dict[str, _Seen] = {}

    def feed(self, notification: Notification) -> None:
        params = notification.params
        match notification.method:
            case "item/completed":
                self._item(_text(params.get("turnId")), params.get("item"))
            case "error" if not params.get("willRetry"):
                seen = self._seen(_text(params.get("turnId")))
                seen.error = _error_text(params.get("error")) or "unknown error"
            case "turn/completed" if isinstance(params.get("turn"), dict):
                turn = Turn.parse(params["turn"])
                self._seen(turn.id).end = turn

    @property
    def completed(self) -> bool:
        return self._own().end is not None

    @property
    def items(self) -> list[dict[str, Any]]:
        """Completed items of our turn, in order of first appearance, each in its last version."""
        return list(self._own().items.values())

    @property
    def result(self) -> TurnResult:
        """How our turn stands; final once `completed`."""
        seen = self._own()
        end = seen.end
        reply = reply_of(self.items) or (reply_of(end.items) if end else None)
        error = seen.error or (end.error if end else None)
        return TurnResult(self.turn_id, end.status if end else "inProgress", reply, error)

    def _item(self, turn_id: str, item: Any) -> None:
        if not isinstance(item, dict):
            return
        if _is_message(item, self._client_message_id):
            self.accepted = True
            self.turn_id = self.turn_id or turn_id
        items = self._seen(turn_id).items
        items[_text(item.get("id")) or f"item {len(items)}"] = item

    def _seen(self, turn_id: str) -> _Seen:
        return self._turns.setdefault(turn_id, _Seen())

    def _own(self) -> _Seen:
        return self._turns.get(self.turn_id or "", _Seen())


def _is_message(item: dict[str, Any], client_message_id: str) -> bool:
    return item.get("type") == "userMessage" and item.get("clientId") == client_message_id


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: Any) -> float | None:
    """None for what is no number, and for what no calendar shows."""
    return float(value) if isinstance(value, int | float) and 0 <= value < YEAR_10000 else None


def _error_text(value: Any) -> str | None:
    if isinstance(value, dict):
        return _text(value.get("message")) or "unknown error"
    return _text(value) or None
