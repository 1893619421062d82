"""Threads that the user's own Codex has open, with a second real app-server in its place."""

import contextlib
from collections.abc import Iterator

import pytest

from app.dispatch.codex_queue import IN_QUEUE
from tests.fakes.model import FakeModel
from tests.support.app_server_client import AppServerClient
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until

pytestmark = pytest.mark.anyio


def used_thread(hub: HubProcess, codex_home: CodexHome) -> str:
    accepted = hub.accept(projectId=str(codex_home.project), message="warm", createIfMissing=True)
    hub.dispatch_when(accepted["dispatchId"])
    return str(accepted["threadId"])


@contextlib.contextmanager
def window(codex_home: CodexHome, thread_id: str) -> Iterator[AppServerClient]:
    """The user's own Codex, with a thread open."""
    with AppServerClient(codex_home) as codex:
        codex.request("thread/resume", threadId=thread_id)
        yield codex


def accept(hub: HubProcess, codex_home: CodexHome, thread_id: str, message: str) -> str:
    return str(hub.accept(projectId=str(codex_home.project), threadId=thread_id, message=message)["dispatchId"])


async def test_work_for_an_open_thread_waits_says_so_and_runs_once_the_thread_is_closed(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    thread_id = used_thread(running, codex_home)
    with window(codex_home, thread_id):
        waiting = accept(running, codex_home, thread_id, "later")
        wait_until(lambda: running.dispatch(waiting)["waitingFor"], "it does not say that it waits")
        assert "open in another Codex" in running.dispatch(waiting)["waitingFor"]
        async with agent(running) as claude:
            busy = await claude.call("relay_send_wait", threadId=thread_id, message="now")
        assert (busy["busy"], busy["newMessageDelivered"], busy["dispatchId"]) == (True, False, waiting)
    done = running.dispatch_when(waiting)
    assert (done["dispatchStatus"], done["waitingFor"]) == ("succeeded", None)
    assert model.seen("later") == 1
    # The hub lets go at once: the user's Codex can open the thread again.
    with window(codex_home, thread_id):
        pass


def test_by_setting_the_open_codex_itself_runs_what_it_is_left(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings, codex_when_held="queue")
    thread_id = used_thread(running, codex_home)
    with window(codex_home, thread_id):
        left = accept(running, codex_home, thread_id, "[[reply by the window]]")
        # Codex looks into its queue about every ten seconds.
        done = running.dispatch_when(left, timeout=60)
    assert (done["dispatchStatus"], done["replyText"]) == ("succeeded", "by the window")
    assert model.seen("by the window") == 1


def test_what_lies_in_the_queue_runs_once_when_the_window_closes_and_not_at_all_when_cancelled(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings, codex_when_held="queue")
    thread_id = used_thread(running, codex_home)
    with window(codex_home, thread_id) as codex:
        codex.request("turn/start", threadId=thread_id, input=[{"type": "text", "text": "[[gate busy]] mine"}])
        model.wait_at_gate("busy")
        left = accept(running, codex_home, thread_id, "left behind")
        running.dispatch_when(left, "waitingFor", [IN_QUEUE])
        running.client.post(f"/api/dispatches/{left}/cancel", json={})
        assert running.dispatch_when(left)["dispatchStatus"] == "cancelled"
        left = accept(running, codex_home, thread_id, "picked up")
        running.dispatch_when(left, "waitingFor", [IN_QUEUE])
        running.kill()
    model.release("busy")
    running.start()
    assert running.dispatch_when(left)["replyText"] == "echo: picked up"
    assert (model.seen("left behind"), model.seen("picked up")) == (0, 1)
