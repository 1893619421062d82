"""What the page of a dispatch shows: how it stands, what may be done, and the steps of its turn."""

import json
import re
from typing import NamedTuple

from app.dispatch.recovery import Standing, Suggestion
from app.hub import Hub
from app.models import Dispatch, DispatchEvent, DispatchStatus, Message, Pause, TurnItem
from app.storage import dispatches, messages, pauses, turn_items
from app.storage.approvals import Shown

OPEN_LINES = 12
"""Output with more lines begins closed once its step is over, so that the steps around it are found."""
_EXIT_CODE = re.compile(r"\n\(exit code (-?\d+)\)\Z")
_MARKS = {"[x] ": "done", "[>] ": "now", "[ ] ": "open"}
_TOKENS = ("totalTokens", "inputTokens", "cachedInputTokens", "outputTokens", "contextWindow")


class Story(NamedTuple):
    """All that is known of a dispatch; every list in order."""

    standing: Standing
    history: list[DispatchEvent]
    items: list[TurnItem]
    messages: list[Message]
    """The messages that link to it."""
    children: list[Dispatch]
    """The callbacks that were begun for it."""
    pauses: list[Pause]
    """What the loop guard has paused of what it belongs to."""
    approvals: list[Shown]
    """What its turn asks and nobody has answered."""

    @property
    def dispatch(self) -> Dispatch:
        return self.standing.dispatch

    @property
    def advice(self) -> str | None:
        """What to know beside the state; where there is a button, that says it."""
        is_said = self.standing.suggested in (Suggestion.WAIT_WORKER, *SUGGESTED)
        return None if is_said or self.dispatch.status is DispatchStatus.QUEUED else self.standing.advice

    @property
    def reply_item(self) -> TurnItem | None:
        """The step that is the reply, which has a place of its own."""
        if self.dispatch.reply_text is None:
            return None
        return next((item for item in reversed(self.items) if item.kind == "message"), None)

    @property
    def stamp(self) -> int:
        """Until when its changes are in here, in microseconds."""
        return stamp(max([self.dispatch.updated_at, *(item.updated_at for item in self.items)]))


def stamp(seconds: float) -> int:
    """A time as a whole number, for the ids of events."""
    return int(seconds * 1_000_000)


async def story(hub: Hub, dispatch_id: str) -> Story:
    """Raises DispatchNotFound: there is none of this id."""
    standing = await hub.dispatches.standing(dispatch_id)
    read = hub.database.read
    return Story(
        standing,
        await read(dispatches.history, dispatch_id),
        await read(turn_items.of_dispatch, dispatch_id),
        await read(messages.of_dispatch, dispatch_id),
        await read(dispatches.children, dispatch_id),
        await read(pauses.of_dispatch, standing.dispatch),
        await hub.dispatches.approvals.waiting(dispatch_id),
    )


class Action(NamedTuple):
    """A button: where its form goes, its label, and what it does in one sentence."""

    path: str
    label: str
    effect: str


CANCEL = {
    "queued": Action("cancel", "Cancel", "Takes it out of its thread's line. Nothing has been sent to Codex."),
    "running": Action("cancel", "Cancel", "Stops the turn. What it has changed in files stays as it is."),
    "timed_out": Action("cancel", "Cancel", "Stops the turn, which still goes on. Changed files stay as they are."),
}
SUGGESTED = {
    Suggestion.DELIVER_CALLBACK: Action(
        "deliver", "Deliver callback again", "Tells whoever asked how this ended, now instead of later."
    ),
    Suggestion.RETRY_CALLBACK: Action("deliver", "Retry callback", "Tries once more to tell whoever asked."),
    Suggestion.RESUME_TIMED_OUT_TURN: Action(
        "recover", "Look again", "Asks Codex what became of the turn. Nothing is sent a second time."
    ),
    Suggestion.RERUN_TURN: Action(
        "recover", "Run again", "Sends the message once more, as a new turn. Files stay as the first turn left them."
    ),
}


def actions(standing: Standing) -> list[Action]:
    """What a reader may do about a dispatch."""
    dispatch = standing.dispatch
    found = []
    if dispatch.finished_at is None and dispatch.cancel_requested_at is None and dispatch.status in CANCEL:
        found.append(CANCEL[dispatch.status])
    if standing.suggested in SUGGESTED:
        found.append(SUGGESTED[standing.suggested])
    return found


def output(item: TurnItem) -> tuple[str, int]:
    """The output of a command, and its exit code."""
    text, *code = _EXIT_CODE.split("\n" + item.text, maxsplit=1)
    return text[1:].removesuffix("\n"), int(code[0]) if code else 0


def is_open(item: TurnItem) -> bool:
    """Whether a step begins open: it is under way, it went wrong, or it is short."""
    return item.status != "completed" or item.text.count("\n") < OPEN_LINES


def plan(text: str) -> list[tuple[str, str]]:
    """The steps of a plan as (`done`, `now` or `open`; words). Lines that are no steps have no state."""
    return [(_MARKS.get(line[:4], ""), line[4:] if line[:4] in _MARKS else line) for line in text.splitlines()]


def tokens(usage: str | None) -> dict[str, int]:
    """The tokens of a turn by their names in `Dispatch.usage`; those that are not known are 0."""
    try:
        found = json.loads(usage or "{}")
    except ValueError:
        found = {}
    return {name: found.get(name, 0) if isinstance(found, dict) else 0 for name in _TOKENS}
