"""What becomes of a dispatch whose worker is gone: two pure functions.

`judge` decides from what the thread itself says. `suggestion` tells a caller what `relay_dispatch_recover` would do.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum

from app.codex.protocol import Turn, TurnResult, turn_result
from app.errors import ErrorCode, HubError, from_code
from app.models import CallbackStatus, Dispatch, DispatchStatus, Lease, Outcome

TURN_FAILED = "Target turn failed: "
CUT_OFF = (ErrorCode.TURN_INTERRUPTED, ErrorCode.APP_SERVER_UNAVAILABLE)
"""Errors of a turn that did not come to an end of its own."""


class Writer(Enum):
    """Who has the thread loaded for writing."""

    NOBODY = "nobody"
    HERE = "here"
    ELSEWHERE = "elsewhere"


class Action(Enum):
    SEND = "send"  # the message never arrived: it may be sent
    FINISH = "finish"  # the thread knows how it ended
    FOLLOW = "follow"  # our own app-server runs the turn: listen again
    WAIT = "wait"  # another Codex runs it: look again later


@dataclass(frozen=True)
class Verdict:
    action: Action
    turn_id: str | None = None
    outcome: Outcome | None = None


def our_turn(dispatch: Dispatch, turns: Sequence[Turn]) -> Turn | None:
    """The newest turn that holds our message, whichever attempt sent it, or that is known to be ours."""
    ids = [Lease(dispatch.id, "", attempt).client_message_id for attempt in range(1, dispatch.attempt + 1)]
    ours = (turn for turn in turns if turn.id == dispatch.turn_id or any(map(turn.has_message, ids)))
    return next(ours, None)


def judge(turn: Turn | None, writer: Writer) -> Verdict:
    """Decide by the turn that holds our message, if there is one, and by who writes to its thread.

    A coding turn is never run twice unasked: only a message that did not arrive is sent again.
    """
    if turn is None:
        # What a thread holds is certain only for whoever has it loaded.
        return Verdict(Action.WAIT if writer is Writer.ELSEWHERE else Action.SEND)
    result = turn_result(turn)
    if result.status in ("completed", "failed"):
        return Verdict(Action.FINISH, turn.id, ended(result))
    # A turn that runs in another process reads "interrupted" as well; only who writes tells them apart.
    if writer is Writer.ELSEWHERE:
        return Verdict(Action.WAIT, turn.id)
    if writer is Writer.HERE:
        return Verdict(Action.FOLLOW, turn.id)
    if not turn.items:
        # It was cut off before our message was in it.
        return Verdict(Action.SEND)
    return Verdict(
        Action.FINISH,
        turn.id,
        Outcome(
            DispatchStatus.FAILED,
            turn.id,
            error_code=ErrorCode.TURN_INTERRUPTED,
            error_message="The turn was cut off when Codex or the hub stopped. It may have changed files; "
            "look at the thread before you send the request again.",
        ),
    )


def ended(result: TurnResult) -> Outcome:
    """The outcome of a turn that came to an end."""
    turn_id = result.turn_id
    if not result.succeeded:
        return Outcome(
            DispatchStatus.FAILED,
            turn_id,
            error_code=ErrorCode.TARGET_TURN_FAILED,
            error_message=f"{TURN_FAILED}{result.error or result.status or 'unknown'}",
        )
    if not result.reply:
        return Outcome(
            DispatchStatus.FAILED,
            turn_id,
            error_code=ErrorCode.REPLY_MISSING,
            error_message="Target thread completed but returned no final text.",
        )
    return Outcome(DispatchStatus.SUCCEEDED, turn_id, reply_text=result.reply)


def failure(dispatch: Dispatch) -> HubError:
    """The error of a dispatch that ended without a reply, for whoever waited for one."""
    details = {"dispatchId": dispatch.id, "threadId": dispatch.thread_id, "turnId": dispatch.turn_id}
    match dispatch.error_code:
        case ErrorCode.TARGET_TURN_FAILED:
            details["detail"] = (dispatch.error_message or "").removeprefix(TURN_FAILED)
        case ErrorCode.APP_SERVER_UNAVAILABLE | ErrorCode.INTERNAL_ERROR:
            details["cause"] = dispatch.error_message
    return from_code(dispatch.error_code, dispatch.error_message, **details)


class Suggestion(StrEnum):
    WAIT_WORKER = "wait_worker"
    RESUME_TURN_WAIT = "resume_turn_wait"
    WAIT_THREAD_LEASE_EXPIRY = "wait_thread_lease_expiry"
    RESTART_DISPATCH = "restart_dispatch"
    RESUME_TIMED_OUT_TURN = "resume_timed_out_turn"
    DELIVER_CALLBACK = "deliver_callback"
    RETRY_CALLBACK = "retry_callback"
    RERUN_TURN = "rerun_turn"


ACTIONABLE = frozenset(
    {
        Suggestion.RESUME_TURN_WAIT,
        Suggestion.RESTART_DISPATCH,
        Suggestion.RESUME_TIMED_OUT_TURN,
        Suggestion.DELIVER_CALLBACK,
        Suggestion.RETRY_CALLBACK,
    }
)
"""What may be done for many dispatches at once. A turn is run again for one only, by somebody who looked at it."""


@dataclass(frozen=True)
class Standing:
    """A dispatch as it stands, and what could be done about it."""

    dispatch: Dispatch
    dispatch_lease_active: bool
    thread_lease_active: bool
    suggested: Suggestion | None
    advice: str | None


def standing(dispatch: Dispatch, leased_threads: set[str]) -> Standing:
    """`leased_threads` are the threads in which a worker is busy now."""
    held = dispatch.owner is not None and (dispatch.lease_expires_at or 0) > time.time()
    on_thread = dispatch.thread_id in leased_threads
    suggested, advice = suggestion(dispatch, held, on_thread) or (None, None)
    return Standing(dispatch, held, on_thread, suggested, advice)


def suggestion(dispatch: Dispatch, held: bool, thread_lease_active: bool) -> tuple[Suggestion, str] | None:
    """The next useful step and a sentence about it; the first rule that fits wins."""
    if dispatch.status in (DispatchStatus.QUEUED, DispatchStatus.RUNNING):
        if held:
            return Suggestion.WAIT_WORKER, "A relay worker is still active for this dispatch."
        if dispatch.turn_id:
            return (
                Suggestion.RESUME_TURN_WAIT,
                "An existing target turn id is recorded and can be resumed without replaying the message.",
            )
        if thread_lease_active:
            return (
                Suggestion.WAIT_THREAD_LEASE_EXPIRY,
                "The target thread still has an active lease but no recorded turn id, so replay is not safe yet.",
            )
        return (
            Suggestion.RESTART_DISPATCH,
            "No active worker or thread lease remains; the dispatch can be restarted safely.",
        )
    # Whoever holds it only listens: to resume means to wait along.
    if dispatch.status is DispatchStatus.TIMED_OUT and dispatch.turn_id and dispatch.finished_at is None:
        return (
            Suggestion.RESUME_TIMED_OUT_TURN,
            "The target turn timed out locally but still has a recorded turn id that can be resumed.",
        )
    if dispatch.callback_status is CallbackStatus.PENDING:
        return Suggestion.DELIVER_CALLBACK, "Callback delivery is pending and can be retried."
    if dispatch.callback_status is CallbackStatus.FAILED:
        return Suggestion.RETRY_CALLBACK, "Callback delivery failed and can be retried explicitly."
    has_begun = dispatch.turn_id or dispatch.error_code == ErrorCode.TURN_INTERRUPTED
    if dispatch.status is DispatchStatus.FAILED and dispatch.error_code in CUT_OFF and has_begun:
        return (
            Suggestion.RERUN_TURN,
            "The turn was cut off and may have changed files. To recover it sends the message once more.",
        )
    return None
