"""The seed's tools for projects and threads (rows B1 to B20): arguments, payloads and texts as callers know them."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import Agent, agent
from tests.support.relay import Relay

pytestmark = pytest.mark.anyio

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PROJECT = {"projectId", "path", "pathKey", "name", "trusted", "trustLevel"}
THREAD = {
    "threadId", "name", "status", "lastActivityAt", "projectId", "cwd", "remembered", "createdAt", "lastUsedAt",
    "lastTurnId",
}  # fmt: skip
THREAD = {
    "threadId", "name", "status", "lastActivityAt", "projectId", "cwd", "remembered", "createdAt", "lastUsedAt",
    "lastTurnId",
}  # fmt: skip
CREATED = {
    "threadId", "name", "threadName", "projectId", "projectName", "created", "createdAt", "lastUsedAt", "lastTurnId",
    "statePath", "warning",
}  # fmt: skip


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    hubs = Hubs()
    yield Relay(hubs, tmp_path_factory.mktemp("codex"), codex_request_timeout_ms=3000)
    hubs.end()


async def listed(caller: Agent, project: str, query: str = "") -> list[dict[str, Any]]:
    found = await caller.call("relay_list_threads", projectId=project, query=query)
    return list(found["threads"])


async def test_the_nine_tools_have_their_arguments_and_bounds(shared_hub: HubProcess) -> None:
    async with agent(shared_hub) as claude:
        tools = {tool.name: tool.input_schema for tool in (await claude.client.list_tools()).tools}
        project, message = {"projectId": "/p"}, {"message": "x"}
        for tool, wrong, field in (
            ("relay_list_threads", {}, "projectId"),
            ("relay_create_thread", {**project, "name": "n" * 121}, "name"),
            ("relay_send_wait", {"threadId": "t", "message": " \n"}, "message"),
            ("relay_send_wait", {"threadId": "t", **message, "timeoutSec": 3601}, "timeoutSec"),
            ("relay_dispatch", {**project, **message, "timeoutSec": 1.5}, "timeoutSec"),
            ("relay_dispatch", {**project, **message, "query": " "}, "query"),
            ("relay_dispatch_async", {**project, **message, "timeoutSec": 0}, "timeoutSec"),
            ("relay_dispatch_async", {**project, **message, "callbackThreadId": " "}, "callbackThreadId"),
            ("relay_dispatch_status", {"dispatchId": " "}, "dispatchId"),
            ("relay_dispatch_deliver", {}, "dispatchId"),
            ("relay_dispatch_recover", {"limit": 21}, "limit"),
            ("relay_dispatch_recover", {"limit": 0}, "limit"),
        ):
            error = await claude.fail(tool, **wrong)
            assert (error["relayCode"], error["rpcCode"], error["field"]) == ("bad_request", -32602, field)
    relay_tools = {name: set(schema["properties"]) for name, schema in tools.items() if name.startswith("relay_")}
    selectors = {"projectId", "message", "threadId", "threadName", "query", "createIfMissing", "timeoutSec"}
    asynchronous = relay_tools.pop("relay_dispatch_async")
    assert selectors | {"callbackThreadId"} <= asynchronous
    assert (
        relay_tools.items()
        >= {
            "relay_list_projects": set(),
            "relay_list_threads": {"projectId", "query"},
            "relay_create_thread": {"projectId", "name"},
            "relay_send_wait": {"threadId", "message", "timeoutSec"},
            "relay_dispatch": selectors,
            "relay_dispatch_status": {"dispatchId"},
            "relay_dispatch_deliver": {"dispatchId", "callbackThreadId"},
            "relay_dispatch_recover": {"dispatchId", "projectId", "callbackThreadId", "limit"},
        }.items()
    )


async def test_a_project_is_known_by_every_spelling_that_its_system_takes_for_the_same(relay: Relay) -> None:
    posix, windows = relay.project("/srv/Alpha"), relay.project(r"\\?\C:\Work\Beta")
    relay.threads(r"C:\Work\Beta", "there")
    stranger = relay.project("/srv/Gamma", trusted=False)
    async with agent(relay.hub) as claude:
        projects = (await claude.call("relay_list_projects"))["projects"]
        text = await claude.text("relay_list_projects")
        known = [each for each in projects if each["name"] in ("Alpha", "Beta")]
        assert known == [
            {"projectId": posix, "path": posix, "pathKey": posix, "name": "Alpha", "trusted": True,
             "trustLevel": "trusted"},
            {"projectId": r"C:\Work\Beta", "path": r"C:\Work\Beta", "pathKey": r"c:\work\beta", "name": "Beta",
             "trusted": True, "trustLevel": "trusted"},
        ]  # fmt: skip
        assert stranger not in [each["projectId"] for each in projects]
        assert text.splitlines()[0] == f"Found {len(projects)} trusted project(s)."
        assert f"- Alpha: {posix}" in text.splitlines()
        for spelling in (windows, "c:/work/beta/", "C:\\WORK\\BETA\\", r"\\?\c:\Work\Beta"):
            assert [row["name"] for row in await listed(claude, spelling)] == ["there"]
        assert await listed(claude, "/srv//Alpha/") == []
        for other in ("/srv/alpha", stranger):
            error = await claude.fail("relay_create_thread", projectId=other)
            assert (error["relayCode"], error["projectId"]) == ("project_untrusted", other)
        made = await claude.call("relay_create_thread", projectId="/srv/Alpha/", name="here")
    assert made["projectId"] == posix
    assert relay.codex.received("thread/start")[-1]["params"]["cwd"] == posix


async def test_threads_of_a_folder_are_listed_with_what_is_remembered_of_them(relay: Relay) -> None:
    project, used, other = relay.place("Used", "other")
    relay.threads(f"{project}/below", "elsewhere")
    async with agent(relay.hub) as claude:
        await claude.call("relay_send_wait", threadId=used, message="hello")
        made = await claude.call("relay_create_thread", projectId=project, name="never used")
        found = await claude.call("relay_list_threads", projectId=project)
        text = await claude.text("relay_list_threads", projectId=project)
        rows = {row["name"]: row for row in found["threads"]}
        assert set(found) == {"project", "threads", "statePath"}
        assert set(found["project"]) == PROJECT
        assert {name: row["remembered"] for name, row in rows.items()} == {
            "Used": True, "other": False, "never used": True,
        }  # fmt: skip
        for row in rows.values():
            assert set(row) == THREAD
            assert (row["projectId"], row["cwd"]) == (project, project)
            assert ISO.fullmatch(row["lastActivityAt"])
        assert [rows["other"][key] for key in ("createdAt", "lastUsedAt", "lastTurnId")] == [None, None, None]
        assert rows["never used"]["threadId"] == made["threadId"]
        assert text.splitlines()[0] == f"Found 3 thread(s) in {found['project']['name']}."
        line = f"- other [{other}] status=notLoaded remembered=no lastActivityAt={rows['other']['lastActivityAt']} "
        assert f"{line}lastUsedAt=unknown" in text.splitlines()

        assert [row["name"] for row in await listed(claude, project, " uSeD ")] == ["never used", "Used"]
        assert [row["name"] for row in await listed(claude, project, other[4:20].upper())] == ["other"]
        assert len(await listed(claude, project, "notloaded")) == 3
        assert len(await listed(claude, project, "  ")) == 3
        none = await claude.text("relay_list_threads", projectId=project, query="nobody")
        assert none == f"No matching threads were found in {found['project']['name']}."


async def test_a_thread_that_is_gone_is_forgotten_and_one_that_cannot_be_read_is_not(relay: Relay) -> None:
    (project,) = relay.place()
    async with agent(relay.hub) as claude:
        for knobs, remembered in (({"never_answer": ["thread/read"]}, True), ({"missing_reads": 10**6}, False)):
            await claude.call("relay_create_thread", projectId=project, name="mine")
            relay.codex.set(**knobs)
            await listed(claude, project)
            relay.codex.set(never_answer=[], missing_reads=0)
            assert bool(await listed(claude, project)) is remembered
        assert await listed(claude, project) == []


async def test_a_new_thread_is_named_and_a_name_that_is_refused_is_a_warning(relay: Relay) -> None:
    (project,) = relay.place()
    before = len(relay.codex.received())
    async with agent(relay.hub) as claude:
        made = await claude.call("relay_create_thread", projectId=project, name="  a  ")
        frames = [frame for frame in relay.codex.received()[before:] if frame["method"].startswith("thread/")]
        relay.codex.set(refuse_rename=True)
        unnamed = await claude.call("relay_create_thread", projectId=project, name="wish")
        sent = await claude.call(
            "relay_dispatch", projectId=project, threadName="wish", createIfMissing=True, message="hello"
        )
        relay.codex.set(refuse_rename=False)
    assert set(made) == CREATED
    assert (made["name"], made["threadName"], made["created"], made["lastTurnId"]) == ("a", "a", True, None)
    assert ISO.fullmatch(made["createdAt"])
    assert made["lastUsedAt"] == made["createdAt"]
    assert [frame["method"] for frame in frames[:2]] == ["thread/start", "thread/name/set"]
    assert frames[0]["params"]["cwd"] == project
    assert frames[1]["params"] == {"threadId": made["threadId"], "name": "a"}
    assert unnamed["name"] == unnamed["threadId"]
    # The thread is used all the same, and the reply says what went wrong.
    assert (sent["replyText"], sent["warning"]) == ("echo: hello", unnamed["warning"])
    assert sent["warning"] == "Thread created but rename failed: the name is taken"


async def test_a_target_that_is_not_clear_is_refused_with_what_there_is(relay: Relay) -> None:
    project, *ids = relay.place("twin", "twin", *(f"many {n}" for n in range(5)))
    (stranger,) = relay.threads(relay.project(trusted=False), "far")
    asked = {"projectId": project, "message": "x"}
    async with agent(relay.hub) as claude:
        twins = await claude.fail("relay_dispatch", **asked, threadName="twin", createIfMissing=True)
        hits = await claude.fail("relay_dispatch", **asked, query=" N ", createIfMissing=True)
        nobody = await claude.fail("relay_dispatch", **asked, threadName="Twin", query="nobody")
        unknown = await claude.fail("relay_dispatch", **asked, threadId=stranger, createIfMissing=True)
        untrusted = await claude.fail("relay_send_wait", threadId=stranger, message="x")
    assert twins["message"] == 'Multiple threads share the exact name "twin".'
    assert (twins["relayCode"], twins["rpcCode"], twins["threadName"]) == ("target_ambiguous", -32602, "twin")
    assert {match["threadId"] for match in twins["matches"]} == set(ids[:2])
    assert all(set(match) == {"threadId", "name"} for match in twins["matches"])
    assert (hits["message"], hits["query"]) == ('Multiple threads matched query "N".', "N")
    assert len(hits["matches"]) == 5
    assert nobody["message"] == "No matching thread could be resolved for dispatch."
    assert [nobody[key] for key in ("threadId", "threadName", "query")] == [None, "Twin", "nobody"]
    assert (unknown["message"], unknown["threadId"]) == (f"Thread not found: {stranger}", stranger)
    assert (untrusted["relayCode"], untrusted["threadId"]) == ("project_untrusted", stranger)


async def test_a_refusal_of_codex_that_nobody_foresaw_keeps_its_words(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        await claude.call("relay_list_projects")
        before = codex_home.config.read_text("utf-8")
        codex_home.append("this is not TOML")
        error = await claude.fail("relay_list_projects")
        codex_home.config.write_text(before, "utf-8")
        assert (await claude.call("relay_list_projects"))["projects"]
    assert (error["relayCode"], error["cause"]) == ("internal_error", error["message"])


async def test_a_new_thread_that_cannot_be_read_yet_gets_its_message(relay: Relay) -> None:
    (project,) = relay.place()
    relay.codex.set(missing_reads=10**6)
    async with agent(relay.hub) as claude:
        reply = await claude.call("relay_dispatch", projectId=project, createIfMissing=True, message="hello")
    relay.codex.set(missing_reads=0)
    assert (reply["replyText"], reply["resolution"], reply["created"]) == ("echo: hello", "created_new", True)
