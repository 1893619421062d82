"""The turn outlives the hub: the next one takes it up where it is."""

import socket
from pathlib import Path
from typing import Any

import pytest

from app.codex.detached import peer_pid
from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs


def accept(hub: HubProcess, home: CodexHome, message: str, **more: Any) -> dict[str, Any]:
    return hub.accept(projectId=str(home.project), message=message, createIfMissing=True, **more)


def sockets(hub: HubProcess) -> list[Path]:
    return list((hub.folder.parent / "data").glob("*.sock"))


def app_servers(hub: HubProcess) -> list[int]:
    """The processes that listen."""
    pids = []
    for path in sockets(hub):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            pids.append(peer_pid(peer))
    return pids


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
@pytest.mark.parametrize("while_away", [True, False], ids=["ends while no hub runs", "ends later"])
def test_a_turn_goes_on_without_its_hub_and_the_next_one_has_its_reply(
    hub: Hubs, codex_home: CodexHome, model: FakeModel, killed: bool, while_away: bool
) -> None:
    running = hub(**codex_home.settings)
    accepted = accept(running, codex_home, "[[gate work]] careful")
    model.wait_at_gate("work")
    (app_server,) = app_servers(running)
    if killed:
        running.kill()
    else:
        running.stop(codex_works=True)
        assert f"pid {app_server}, goes on" in running.log
    assert app_servers(running) == [app_server]
    if while_away:
        model.release("work")
    running.start()
    if not while_away:
        running.dispatch_when(accepted["dispatchId"], values=["running"])
        model.release("work")
    done = running.dispatch_when(accepted["dispatchId"])
    assert (done["dispatchStatus"], done["replyText"]) == ("succeeded", "echo: careful")
    assert model.seen("careful") == 1
    again = accept(running, codex_home, "again", threadId=accepted["threadId"])
    assert running.dispatch_when(again["dispatchId"])["replyText"] == "echo: again"
    assert app_servers(running) == [app_server]
    running.stop()
    assert sockets(running) == []


def test_a_time_limit_that_passes_while_no_hub_runs_does_not_lose_the_reply(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    accepted = accept(running, codex_home, "[[gate work]] late", timeoutSec=1)
    model.wait_at_gate("work")
    running.kill()
    running.start()
    running.dispatch_when(accepted["dispatchId"], values=["timed_out"])
    model.release("work")
    assert running.dispatch_when(accepted["dispatchId"], values=["succeeded"])["replyText"] == "echo: late"


def test_a_hub_with_other_settings_leaves_the_old_app_server_its_turn_and_ends_it_after(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    accepted = accept(running, codex_home, "[[gate work]] old")
    model.wait_at_gate("work")
    (old,) = app_servers(running)
    running.kill()
    running.environ["RELAY_HUB_CODEX_SERVICE_TIER"] = "flex"
    running.start()
    other = accept(running, codex_home, "new")
    assert running.dispatch_when(other["dispatchId"])["replyText"] == "echo: new"
    assert old in app_servers(running)
    model.release("work")
    assert running.dispatch_when(accepted["dispatchId"])["replyText"] == "echo: old"
    running.stop()
    assert sockets(running) == []


def test_with_debug_the_words_of_the_app_server_are_on_standard_error(hub: Hubs, codex_home: CodexHome) -> None:
    quiet, loud = hub(**codex_home.settings), hub(**codex_home.settings, debug=True)
    for each in (quiet, loud):
        each.dispatch_when(accept(each, codex_home, "hello")["dispatchId"])
        each.stop()
    assert "[thread-relay] " in loud.log
    assert "[thread-relay] " not in quiet.log
    assert (loud.folder.parent / "log" / "codex-app-server.log").read_text()
