"""The texts that go into a thread: the delegated request, and the news of how a dispatch ended."""

import json
from typing import Any

from app.models import Dispatch, DispatchStatus

HEADER = "[Codex Thread Relay]"
REQUEST = "Delegated request:"

PROSE = """\
Another agent on this machine handed you the request below through Relay Hub. Treat it as a request of this \
repository's user: work in this repository, and follow its AGENTS.md and skills.
Nobody may be there to approve commands, so choose the careful way and do not widen the task.
Answer with the final result only; your last message goes back to the sender as it stands."""

CALLBACK_HEADER = "[Codex Relay Callback]"
CALLBACK_EVENT = "codex.relay.dispatch.completed.v1"
CALLBACK_BEGIN = "BEGIN_CODEX_RELAY_CALLBACK_JSON"
CALLBACK_END = "END_CODEX_RELAY_CALLBACK_JSON"


def delegated(message: str, prose: str) -> str:
    """The text of a turn: fixed first line, our prose, and the message to the letter at the end."""
    return f"{HEADER}\n{prose or PROSE}\n\n{REQUEST}\n{message}"


def event(dispatch: Dispatch) -> dict[str, Any]:
    """How a dispatch ended, or that it is past its time limit, as data."""
    return {
        "eventType": CALLBACK_EVENT,
        "dispatchId": dispatch.id,
        "status": dispatch.status.value,
        "callbackStatus": dispatch.callback_status.value,
        "callbackThreadId": dispatch.callback_thread_id,
        "targetProjectId": dispatch.project_id,
        "targetThreadId": dispatch.thread_id,
        "targetThreadName": dispatch.thread_name,
        "turnId": dispatch.turn_id,
        "resolution": dispatch.resolution,
        "replyText": dispatch.reply_text,
        "errorCode": dispatch.error_code,
        "errorMessage": dispatch.error_message,
        "timingMs": dispatch.timing_ms,
    }


def event_json(dispatch: Dispatch) -> bytes:
    """The same for a program."""
    return json.dumps(event(dispatch), ensure_ascii=False).encode(errors="replace")


def news(dispatch: Dispatch) -> str:
    """The same for a channel, in Markdown; the message itself carries the link to the dispatch."""
    thread = f"`{dispatch.thread_name or dispatch.thread_id}`"
    match dispatch.status:
        case DispatchStatus.SUCCEEDED:
            return dispatch.reply_text or ""
        case DispatchStatus.TIMED_OUT:
            return f"The dispatch to {thread} is past its time limit. Its turn goes on; its end will be told here too."
        case _:
            return f"The dispatch to {thread} {dispatch.status}: `{dispatch.error_code}`\n\n{dispatch.error_message}"


def completed(dispatch: Dispatch) -> str:
    """The message that tells a thread how a dispatch of its ended."""
    body = json.dumps(event(dispatch), ensure_ascii=False, indent=2)
    # A reply may quote the markers; escaped, it still parses to the same text and cannot end the frame.
    for marker in (CALLBACK_BEGIN, CALLBACK_END):
        body = body.replace(marker, marker.replace("_", "\\u005f", 1))
    return "\n".join(
        [
            CALLBACK_HEADER,
            f"Event-Type: {CALLBACK_EVENT}",
            "A dispatch that this thread asked for has ended. This is news, not a new task.",
            CALLBACK_BEGIN,
            body,
            CALLBACK_END,
            "Sum up the result in a few lines. If its status is failed or timed_out, report the error and stop.",
        ]
    )
