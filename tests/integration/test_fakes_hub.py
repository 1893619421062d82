"""The watch over hub processes sees what a hub does wrong; a stand-in does it on purpose."""

import sys
from pathlib import Path

import pytest

from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import Hubs
from tests.support.processes import relatives, wait_until

STAND_IN = """
import http.server, os, signal, subprocess, sys
if "REFUSE" in os.environ:
    sys.exit("no, thank you")
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), http.server.SimpleHTTPRequestHandler)
def stop(*_):
    os._exit(int(os.environ.get("CODE", "0")))
signal.signal(signal.SIGTERM, stop)
if "CHILD" in os.environ:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(f"Relay Hub is listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """How to start the stand-in."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN, "utf-8")
    return [sys.executable, str(script)]


def test_a_hub_answers_stops_and_comes_back_on_its_port(hub: Hubs, command: list[str]) -> None:
    running = hub(command=command)
    assert running.client.get("/").status_code == 200
    first = (running.pid, running.url)

    running.restart()

    assert running.client.get("/").status_code == 200
    assert running.url == first[1]
    assert running.pid != first[0]


def test_a_killed_hub_comes_back_on_its_port(hub: Hubs, command: list[str]) -> None:
    running = hub(command=command)
    url = running.url

    running.kill()
    assert not running.is_running

    assert running.start().url == url


def test_an_unclean_exit_fails_the_test(hub: Hubs, command: list[str]) -> None:
    running = hub(command=command, environ={"CODE": "3"})

    with pytest.raises(AssertionError, match="the hub ended with 3"):
        running.stop()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="orphans are found through /proc")
def test_an_orphan_fails_the_test_and_is_ended(hub: Hubs, command: list[str]) -> None:
    running = hub(command=command, environ={"CHILD": "1"})
    wait_until(lambda: len(running.children) == 1, "the child did not start")

    with pytest.raises(AssertionError, match="left processes behind"):
        running.stop()

    running.end()
    assert relatives(running.run) == {}


def test_a_refusal_to_start_gives_its_code_and_its_words(hub: Hubs, command: list[str]) -> None:
    refusing = hub.prepare(command=command, environ={"REFUSE": "1"})

    assert refusing.refusal() == 1
    assert "no, thank you" in refusing.log


def test_the_codex_of_a_real_hub_counts_as_its_child_and_ends_with_it(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    request = {"projectId": str(codex_home.project), "threadName": "t", "createIfMissing": True}
    running.client.post("/api/dispatches", json={**request, "message": "[[gate held]]"})
    model.wait_at_gate("held")

    assert any("app-server" in command for command in running.children.values())

    # Its turn goes on without the hub; with the test, everything ends.
    running.stop(codex_works=True)
    assert any("app-server" in command for command in running.children.values())
    running.end()
    assert running.children == {}
