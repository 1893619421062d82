"""What the loop guard has paused, and what it counts, on both databases."""

import time
from typing import Any

import pytest

from app.dispatch import loop_guard
from app.errors import ErrorCode
from app.models import CallbackStatus, Dispatch, Origin, Pause
from app.settings import Settings
from app.storage import callbacks, dispatches, pauses
from app.storage.database import Database, Tx

pytestmark = pytest.mark.anyio

SETTINGS = Settings(max_chain_per_minute=2)


def dispatch(**more: Any) -> Dispatch:
    fields = {"home": "/home", "project_id": "/srv/p", "thread_id": "t", "thread_name": "t", "message": "m"}
    return Dispatch(**{**fields, "origin": Origin.ASYNC, "resolution": "by_thread_id", **more})


async def test_a_chain_is_paused_once_told_and_its_callbacks_go_on_with_it(database: Database) -> None:
    first = await database.write(dispatches.add, dispatch(callback_channel="news"))
    member = dispatch(chain_id=first.id, callback_thread_id="s", callback_status=CallbackStatus.PENDING)

    def accept(tx: Tx, asked: Dispatch) -> loop_guard.Paused | None:
        paused = loop_guard.admit(tx, SETTINGS, asked)
        if paused is None:
            dispatches.add(tx, asked)
        return paused

    assert await database.write(accept, member) is None
    # A callback is nobody's request.
    await database.write(dispatches.add, dispatch(chain_id=first.id, origin=Origin.CALLBACK, parent_id=member.id))
    assert await database.write(accept, dispatch(chain_id=first.id)) is None
    paused = await database.write(accept, dispatch(chain_id=first.id))
    again = await database.write(accept, dispatch(chain_id=first.id))
    assert paused is not None
    assert paused.posted is not None
    assert (paused.posted.target, paused.posted.dispatch_id) == ("news", first.id)
    assert again is not None
    assert again.posted is None
    assert await database.write(accept, dispatch()) is None
    waiting = {"callback_error_code": ErrorCode.LOOP_GUARD.value, "callback_not_before": time.time() + 60}
    await database.write(callbacks.set_status, member.id, CallbackStatus.PENDING, **waiting)

    (pause,) = await database.read(pauses.unresumed)
    resumed = await database.write(loop_guard.resume, pause.key, "ada")
    assert resumed is not None
    assert (resumed.key, resumed.resumed_by) == (Pause.of_chain(first.id), "ada")
    assert await database.read(pauses.unresumed) == []
    told = await database.read(dispatches.get, member.id)
    assert told is not None
    assert (told.callback_not_before, told.callback_error_code) == (0.0, None)
    kinds = [event.kind for event in await database.read(dispatches.history, first.id)]
    assert kinds == ["accepted", "paused", "resumed"]
    assert await database.write(accept, dispatch(chain_id=first.id)) is None
    # What goes on stays as it is.
    assert await database.write(loop_guard.resume, pause.key, "bob") == resumed
    assert await database.write(loop_guard.resume, "chain:none", "ada") is None
