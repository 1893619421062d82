"""Takes the state file of the older dispatch relay, seed B, into the database: dispatches, and remembered threads.

It is read as leniently as the seed read it. Nobody works on anything in it any more: what the seed had under way has
failed here, because to send it again might run a coding turn twice.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.errors import CannotStart, ErrorCode
from app.importing.source import OWNER, YEAR_10000, LeftOut, open_source
from app.models import CallbackStatus, Dispatch, DispatchStatus, Origin, Thread
from app.settings import Settings
from app.storage import imports
from app.storage.database import Database

VERSION = 3
DISPATCHES, THREADS = "dispatchRecords", "createdThreads"
MOST_WHOLE = 2**31 - 1
"""The greatest number that a column of this kind holds on both databases."""
ENDED = {status.value: status for status in (DispatchStatus.SUCCEEDED, DispatchStatus.FAILED, DispatchStatus.TIMED_OUT)}
CALLBACKS = {status.value: status for status in CallbackStatus}


@dataclass
class RelayState:
    """What a state file holds, in our own terms. Dispatches are in the order in which they were accepted."""

    dispatches: list[Dispatch] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


@dataclass(frozen=True)
class Taken:
    """What became of a state file: what is new here, and how much was here already."""

    dispatches: list[Dispatch]
    known_dispatches: int
    threads: int
    known_threads: int

    @property
    def interrupted(self) -> int:
        return sum(dispatch.error_code == ErrorCode.TURN_INTERRUPTED for dispatch in self.dispatches)

    @property
    def callbacks(self) -> int:
        return sum(dispatch.callback_status is CallbackStatus.PENDING for dispatch in self.dispatches)


def read_relay_state(path: Path, home: str) -> RelayState:
    """Read a state file; its threads are taken for those of the Codex home `home`.

    Raises:
        CannotStart: it cannot be read, or is no state of the seed.
    """
    found = _load(path)
    state = RelayState()
    for n, entry in enumerate(found.get(DISPATCHES, [])):
        needed = ("dispatchId", "projectId", "threadId", "message")
        if record := _complete(entry, needed, f"{DISPATCHES}[{n}]", state.left_out):
            state.dispatches.append(_dispatch(record, home))
    state.dispatches.sort(key=lambda dispatch: dispatch.accepted_at)
    for n, entry in enumerate(found.get(THREADS, [])):
        if record := _complete(entry, ("threadId", "projectId"), f"{THREADS}[{n}]", state.left_out):
            state.threads.append(_thread(record, home))
    return state


async def import_relay_state(settings: Settings, state: RelayState) -> Taken:
    """Store what is not here yet, all or nothing.

    Raises:
        CannotStart: a hub has the database.
        DatabaseUnavailable: the database stopped working meanwhile; nothing was stored.
    """
    database = Database(settings.database, OWNER)
    await database.open()
    try:
        dispatches, threads = await database.write(imports.take_state, state.dispatches, state.threads)
    finally:
        await database.close()
    fresh = [dispatch for dispatch in state.dispatches if dispatch.id in dispatches]
    return Taken(fresh, len(state.dispatches) - len(fresh), threads, len(state.threads) - threads)


def _load(path: Path) -> dict[str, Any]:
    with open_source(path) as file:
        try:
            found = json.loads(file.read().decode("utf-8-sig"))
        except json.JSONDecodeError as error:
            raise CannotStart(
                f"{path} is broken or cut off: line {error.lineno}, column {error.colno} is no JSON ({error.msg})"
            ) from None
        except (ValueError, RecursionError):
            raise CannotStart(f"{path} is not JSON") from None
        except OSError as error:
            raise CannotStart(f"Cannot read {path}: {error.strerror}") from None
    if not isinstance(found, dict) or not {DISPATCHES, THREADS} & found.keys():
        raise CannotStart(f"{path} is no state of the older relay: there is neither {DISPATCHES} nor {THREADS} in it")
    for name in (DISPATCHES, THREADS):
        if not isinstance(found.get(name, []), list):
            raise CannotStart(f"{path} is no state of the older relay: {name} is not a list")
    version = found.get("version", VERSION)
    if version not in range(VERSION + 1):
        raise CannotStart(f"{path} has version {version}; only versions up to {VERSION} are known")
    return found


def _complete(entry: Any, needed: Sequence[str], where: str, left_out: LeftOut) -> dict[str, Any] | None:
    """The entry with its texts trimmed, or None where it lacks what it cannot be without."""
    if not isinstance(entry, dict):
        left_out.add(where, "no JSON object")
        return None
    record: dict[str, Any] = {key: _text(value) if isinstance(value, str) else value for key, value in entry.items()}
    if lacks := [key for key in needed if not isinstance(record.get(key), str)]:
        named = [f"{key} {record[key]}" for key in needed[:1] if key not in lacks]
        left_out.add(" ".join((where, *named)), f"without {', '.join(lacks)}")
        return None
    record["projectId"] = _project(record["projectId"])
    return record


def _dispatch(record: dict[str, Any], home: str) -> Dispatch:
    accepted = _time(record, "acceptedAt", "createdAt", "updatedAt") or time.time()
    updated = _time(record, "updatedAt") or accepted
    callback_thread = _str(record, "callbackThreadId")
    callback = CALLBACKS.get(str(record.get("callbackStatus")), CallbackStatus.NOT_REQUESTED)
    turn = _str(record, "turnId")
    error_code, error_message = _str(record, "errorCode"), _str(record, "errorMessage")
    status = ENDED.get(str(record.get("dispatchStatus")))
    if status is None:
        error_code, error_message = ErrorCode.TURN_INTERRUPTED.value, _interrupted(record["threadId"], turn)
    return Dispatch(
        id=record["dispatchId"],
        origin=Origin.ASYNC,
        home=home,
        project_id=record["projectId"],
        thread_id=record["threadId"],
        thread_name=_str(record, "threadName") or record["threadId"],
        created=record.get("created") is True,
        resolution=_str(record, "resolution") or "by_thread_id",
        message=record["message"],
        timeout_sec=_whole(record, "timeoutSec"),
        warning=_str(record, "warning"),
        status=status or DispatchStatus.FAILED,
        turn_id=turn,
        reply_text=_str(record, "replyText"),
        error_code=error_code,
        error_message=error_message,
        timing_ms=_whole(record, "timingMs"),
        callback_thread_id=callback_thread,
        callback_status=callback if callback_thread else CallbackStatus.NOT_REQUESTED,
        callback_turn_id=_str(record, "callbackTurnId"),
        callback_error_code=_str(record, "callbackErrorCode"),
        callback_error_message=_str(record, "callbackErrorMessage"),
        callback_delivered_at=_time(record, "callbackDeliveredAt"),
        created_at=_time(record, "createdAt") or accepted,
        accepted_at=accepted,
        updated_at=updated,
        finished_at=updated,
    )


def _interrupted(thread_id: str, turn: str | None) -> str:
    was_sent = f"Its turn {turn} may have run to its end" if turn else "Nobody knows whether its message was sent"
    return (
        f"The older relay did not finish this dispatch. {was_sent}, and may have changed files; look at the thread "
        f"{thread_id} before you send the request again."
    )


def _thread(record: dict[str, Any], home: str) -> Thread:
    created = _time(record, "createdAt", "lastUsedAt") or time.time()
    return Thread(
        home=home,
        thread_id=record["threadId"],
        project_id=record["projectId"],
        name=_str(record, "name") or record["threadId"],
        created_at=created,
        last_used_at=_time(record, "lastUsedAt") or created,
        last_turn_id=_str(record, "lastTurnId"),
    )


def _text(text: str) -> str | None:
    """The text trimmed; None where nothing is left. What no database stores becomes a mark."""
    return text.strip().replace("\0", "\ufffd").encode(errors="replace").decode() or None


def _project(path: str) -> str:
    """The seed wrote /home/me as \\home\\me where it did not run on Windows."""
    return path.replace("\\", "/") if path.startswith("\\") and not path.startswith("\\\\") else path


def _str(record: dict[str, Any], key: str) -> str | None:
    value = record.get(key)
    return value if isinstance(value, str) else None


def _whole(record: dict[str, Any], key: str) -> int | None:
    value = record.get(key)
    return value if type(value) is int and 0 <= value <= MOST_WHOLE else None


def _time(record: dict[str, Any], *keys: str) -> float | None:
    """The first of these times that is one, in unix seconds."""
    for key in keys:
        try:
            when = datetime.fromisoformat(record[key])
        except (KeyError, TypeError, ValueError):
            continue
        seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp()
        if 0 <= seconds < YEAR_10000:
            return seconds
    return None
