"""The one place where failures of the wire become errors of the hub."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.codex.jsonrpc import ConnectionClosed, RequestTimedOut, RpcError
from app.errors import (
    AppServerUnavailable,
    HubError,
    InternalError,
    NoAnswer,
    TargetTurnFailed,
    ThreadHeld,
    ThreadNotFound,
)

ACTIVE_WRITER = "already has an active writer"
ROLLOUT_FAILED = "failed to load rollout"
ARCHIVED = "is archived"
DRAINING = "is draining"
ABSENT = (
    "no rollout found",
    "thread not found",
    "thread not loaded",
    "invalid session id",
    "invalid thread id",
)


@contextmanager
def translated(thread_id: str | None = None) -> Iterator[None]:
    """Raises the HubError for whatever JSON-RPC failure happens inside.

    Codex has one code for all of its refusals, so its texts decide.
    """
    try:
        yield
    except RpcError as error:
        raise refused(error, thread_id) from error
    except ConnectionClosed as error:
        raise unavailable(str(error)) from error
    except RequestTimedOut as error:
        raise NoAnswer(str(error), cause=str(error)) from error


def unavailable(reason: str) -> AppServerUnavailable:
    return AppServerUnavailable(reason, cause=reason)


def refused(error: RpcError, thread_id: str | None) -> HubError:
    """The hub's error for a refusal by Codex."""
    text = error.message
    if ACTIVE_WRITER in text:
        return ThreadHeld(
            f"Thread {thread_id} is open in another Codex, perhaps your own window."
            " Close it there, or try again later.",
            threadId=thread_id,
            cause=text,
        )
    if DRAINING in text:
        return unavailable(f"codex app-server finishes its turns and ends: {text}")
    if ROLLOUT_FAILED in text:
        return TargetTurnFailed(f"Target turn failed: {text}", threadId=thread_id, cause=text)
    if ARCHIVED in text:
        return ThreadNotFound(
            f"Thread {thread_id} is archived. Run `codex unarchive {thread_id}` to use it again.",
            threadId=thread_id,
            cause=text,
        )
    if any(absent in text for absent in ABSENT):
        return ThreadNotFound(f"Thread not found: {thread_id}", threadId=thread_id, cause=text)
    return InternalError(text, cause=text, rpcCode=error.code)
