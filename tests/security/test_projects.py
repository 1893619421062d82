"""Which folders work is let into: those that Codex trusts, however a path is spelled, linked, swapped or moved."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.codex import shared
from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent
from tests.support.processes import run, wait_until
from tests.support.relay import Relay

pytestmark = pytest.mark.anyio

REFUSED = ("project_untrusted", "bad_request")


@pytest.fixture
def stranger(codex_home: CodexHome, model: FakeModel) -> Iterator[Path]:
    """A folder beside the trusted one that Codex does not trust. Nothing may happen in it, or make it trusted."""
    folder = codex_home.add_project("stranger", trusted=False)
    before = sorted(folder.iterdir())
    yield folder
    assert sorted(folder.iterdir()) == before
    assert json.dumps(str(folder)) not in codex_home.config.read_text()


def spellings(project: Path, stranger: Path) -> list[str]:
    """Paths that are not the trusted folder, or not plainly."""
    linked = project.parent / "linked"
    linked.symlink_to(project)
    aside = project.parent / "aside"
    aside.symlink_to(stranger)
    (project / "inside").symlink_to(stranger)
    (project / "sub").mkdir()
    return [
        str(stranger),
        f"{project}/../stranger",
        f"{project}/sub/../../stranger/.",
        f"/..{stranger}",
        str(linked),
        f"{linked}/../stranger",
        str(aside),
        f"{project}/inside",
        f"{project}/sub",
        f"{project}/sub/../inside",
        str(project.parent),
        "/",
        "..",
        ".",
        project.name,
        f"./{project.name}",
        "~",
        f"~/{project.name}",
        "$HOME",
        str(project).upper(),
        f"{project}.",
        f"{project} .",
        f"{project}\u200b",
        f"{project}\u202e",
        f"{project}\0",
        f"{project}\0/../stranger",
        f"{project}/%2e%2e/stranger",
        f"{project}\\..\\stranger",
        f"file://{stranger}",
        f"file://{project}",
        f"/proc/self/root{project}",
        "/proc/self/cwd",
        f"\\\\localhost{project}".replace("/", "\\"),
        f"\\\\?\\{project}",
        f"C:{project}",
        "p" * 10_000,
        "",
    ]


async def test_no_spelling_of_a_path_leads_out_of_the_trusted_folder(
    hub: Hubs, codex_home: CodexHome, model: FakeModel, stranger: Path
) -> None:
    running = hub(**codex_home.settings)
    before = codex_home.config.read_text()
    async with agent(running) as claude:
        for path in spellings(codex_home.project, stranger):
            asked = {"projectId": path, "message": "[[shell touch was-here]]", "createIfMissing": True}
            for tool, arguments in (
                ("relay_list_threads", {"projectId": path}),
                ("relay_create_thread", {"projectId": path}),
                ("relay_dispatch", asked),
            ):
                error = await claude.fail(tool, **arguments)
                assert error["relayCode"] in REFUSED, (tool, path)
            answer = running.client.post("/api/dispatches", json=asked)
            assert answer.json()["code"] in REFUSED, path
    assert codex_home.config.read_text() == before
    assert model.asked == []
    assert running.client.get("/api/dispatches").json()["dispatches"] == []


async def test_other_spellings_of_the_trusted_folder_are_the_trusted_folder(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    project = codex_home.project
    (project / "sub").mkdir()
    async with agent(running) as claude:
        for path in (f"{project}/", f"{project}/.", f" {project}//", f"{project}/sub/..", f"/{project}"):
            made = await claude.call("relay_create_thread", projectId=path)
            assert made["projectId"] == str(project)
        listed = await claude.call("relay_list_threads", projectId=str(project))
    assert {row["cwd"] for row in listed["threads"]} == {str(project)}


async def test_a_trusted_path_that_leads_elsewhere_by_a_link_is_no_project(
    hub: Hubs, codex_home: CodexHome, model: FakeModel, stranger: Path
) -> None:
    link = codex_home.project.parent / "link"
    link.symlink_to(stranger)
    blank = f"{codex_home.project.parent}/stranger "
    for path in (str(link), f"{link}/", blank, "stranger", "~"):
        codex_home.append(f'[projects.{json.dumps(path)}]\ntrust_level = "trusted"\n')
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        listed = await claude.call("relay_list_projects")
        for path in (str(link), blank, "stranger", "~"):
            error = await claude.fail("relay_dispatch", projectId=path, message="x", createIfMissing=True)
            assert error["relayCode"] == "project_untrusted", path
    assert [each["projectId"] for each in listed["projects"]] == [str(codex_home.project)]
    assert model.asked == []


async def test_a_folder_that_is_swapped_for_a_link_while_work_waits_is_not_worked_in(
    hub: Hubs, codex_home: CodexHome, model: FakeModel, stranger: Path
) -> None:
    moved = codex_home.add_project("moved")
    running = hub(**codex_home.settings)
    first = running.accept(projectId=str(moved), message="[[gate held]]", threadName="t", createIfMissing=True)
    model.wait_at_gate("held")
    second = running.accept(
        projectId=str(moved), message="[[shell touch was-here]]", threadName="t", createIfMissing=True
    )
    assert second["threadId"] == first["threadId"]
    moved.rename(moved.parent / "was")
    moved.symlink_to(stranger)
    async with agent(running) as claude:
        listed = await claude.call("relay_list_projects")
        assert str(moved) not in [each["projectId"] for each in listed["projects"]]
        model.release("held")
        ended = running.dispatch_when(second["dispatchId"])
        error = await claude.fail("relay_send_wait", threadId=first["threadId"], message="[[shell touch was-here]]")
    assert (ended["dispatchStatus"], ended["errorCode"]) == ("failed", "project_untrusted")
    assert error["relayCode"] == "project_untrusted"
    assert model.seen("was-here") == 0


async def test_a_thread_of_an_untrusted_folder_gets_neither_work_nor_news(
    hub: Hubs, codex_home: CodexHome, model: FakeModel, stranger: Path
) -> None:
    words = [codex_home.native, "exec", "--json", "--skip-git-repo-check", "mine"]
    own = run(words, cwd=stranger, environ=codex_home.environ, timeout=60)
    thread_id = json.loads(own.stdout.splitlines()[0])["thread_id"]
    asked = len(model.asked)
    running = hub(**codex_home.settings)
    project = str(codex_home.project)
    async with agent(running) as claude:
        error = await claude.fail("relay_send_wait", threadId=thread_id, message="x")
        assert error["relayCode"] == "project_untrusted"
        error = await claude.fail("relay_dispatch", projectId=project, threadId=thread_id, message="x")
        assert error["relayCode"] == "thread_not_found"
        error = await claude.fail("relay_dispatch", projectId=str(stranger), threadId=thread_id, message="x")
        assert error["relayCode"] == "project_untrusted"
        assert len(model.asked) == asked
        done = running.accept(projectId=project, message="y", createIfMissing=True, callbackThreadId=thread_id)
        told = running.dispatch_when(done["dispatchId"], "callbackStatus", ["failed"])
        error = await claude.fail("relay_dispatch_deliver", dispatchId=done["dispatchId"], callbackThreadId=thread_id)
    assert told["callbackErrorCode"] == error["relayCode"] == "callback_target_invalid"
    assert model.seen("[Codex Relay Callback]") == 0


def test_a_thread_that_moves_to_another_folder_while_its_work_waits_does_not_get_it(hub: Hubs, tmp_path: Path) -> None:
    relay = Relay(hub, tmp_path / "codex")
    project, thread_id = relay.place("t")
    first = relay.accept(project, thread_id, "delay=600000")
    wait_until(lambda: relay.sent(thread_id), "the first turn did not begin")
    second = relay.accept(project, thread_id, "was here")
    with shared(relay.codex.folder) as threads:
        threads[thread_id]["cwd"] = "/srv/elsewhere"
    cancel(relay.hub, first)
    ended = relay.hub.dispatch_when(second)
    assert (ended["dispatchStatus"], ended["errorCode"]) == ("failed", "project_untrusted")
    assert "/srv/elsewhere" in ended["errorMessage"]
    assert not any("was here" in text for text in relay.sent(thread_id))


def test_trust_that_is_withdrawn_while_work_waits_counts(hub: Hubs, tmp_path: Path) -> None:
    relay = Relay(hub, tmp_path / "codex")
    project, thread_id = relay.place("t")
    first = relay.accept(project, thread_id, "delay=600000")
    wait_until(lambda: relay.sent(thread_id), "the first turn did not begin")
    second = relay.accept(project, thread_id, "was here")
    relay.project(project, trusted=False)
    body = {"projectId": project, "threadId": thread_id, "message": "x"}
    wait_until(
        lambda: relay.hub.client.post("/api/dispatches", json=body).json().get("code") == "project_untrusted",
        "the hub still trusts it",
    )
    cancel(relay.hub, first)
    assert relay.hub.dispatch_when(second)["errorCode"] == "project_untrusted"
    assert not any("was here" in text for text in relay.sent(thread_id))


def cancel(hub: HubProcess, dispatch_id: str) -> None:
    assert hub.client.post(f"/api/dispatches/{dispatch_id}/cancel", json={}).status_code == 200
