"""The seed's rows B1 to B35 and B59 to B80, each with the very payloads and texts that its callers know."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.errors import from_code
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
CREATED = {
    "threadId", "name", "threadName", "projectId", "projectName", "created", "createdAt", "lastUsedAt", "lastTurnId",
    "statePath", "warning",
}  # fmt: skip
REPLY = {
    "projectId", "projectName", "threadId", "threadName", "created", "resolution", "turnId", "replyText", "timingMs",
    "lastUsedAt", "statePath", "warning",
}  # fmt: skip
ACCEPTED = {
    "dispatchId", "projectId", "threadId", "threadName", "created", "resolution", "acceptedAt", "callbackRequested",
    "statePath",
}  # fmt: skip
STATUS = {
    "dispatchId", "dispatchStatus", "callbackStatus", "callbackThreadId", "threadId", "threadName", "projectId",
    "created", "resolution", "turnId", "acceptedAt", "updatedAt", "dispatchLeaseActive", "threadLeaseActive",
    "statePath",
}  # fmt: skip
RECORD = {
    "dispatchId", "projectId", "threadId", "threadName", "message", "timeoutSec", "created", "resolution", "turnId",
    "dispatchStatus", "callbackThreadId", "callbackStatus", "callbackTurnId", "replyText", "errorCode",
    "errorMessage", "callbackErrorCode", "callbackErrorMessage", "createdAt", "acceptedAt", "updatedAt",
    "callbackDeliveredAt", "timingMs", "warning",
}  # fmt: skip


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    hubs = Hubs()
    yield Relay(hubs, tmp_path_factory.mktemp("codex"), codex_request_timeout_ms=2000)
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
        assert text.splitlines()[0] == f"Found {len(projects)} trusted project(s)."
        assert f"- Alpha: {posix}" in text.splitlines()
        for spelling in (windows, "c:/work/beta/", "C:\\WORK\\BETA\\", r"\\?\c:\Work\Beta"):
            assert [row["name"] for row in await listed(claude, spelling)] == ["there"]
        assert await listed(claude, "/srv//Alpha/") == []
        stranger = await claude.fail("relay_create_thread", projectId="/srv/alpha")
        assert (stranger["relayCode"], stranger["projectId"]) == ("project_untrusted", "/srv/alpha")
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


async def test_a_reply_comes_with_all_that_its_caller_asks_of_it(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    async with agent(relay.hub) as claude:
        reply = await claude.call("relay_send_wait", threadId=thread_id, message=" hello ")
        text = await claude.text("relay_send_wait", threadId=thread_id, message="again")
        (row,) = await listed(claude, project)
        later = await claude.call("relay_dispatch", projectId=project, threadName="t", message="more")
        (moved,) = await listed(claude, project)
    assert set(reply) - {"dispatchId"} == set(later) - {"dispatchId"} == REPLY
    assert (reply["replyText"], reply["resolution"], reply["created"]) == ("echo: hello", "by_thread_id", False)
    assert (reply["projectName"], reply["threadName"], reply["warning"]) == (project.rpartition("/")[2], "t", None)
    assert reply["timingMs"] > 0
    assert ISO.fullmatch(reply["lastUsedAt"])
    assert text == f"Received reply from thread {thread_id} (by_thread_id).\necho: again"
    # One row of what is remembered, which moves on.
    assert (moved["createdAt"], moved["lastTurnId"]) == (row["createdAt"], later["turnId"])
    assert row["lastTurnId"] not in (reply["turnId"], later["turnId"])
    assert moved["lastUsedAt"] > row["lastUsedAt"]


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


async def test_a_turn_outlives_its_caller_and_its_thread_is_free_afterwards(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    asked = {"threadId": thread_id, "timeoutSec": 1}
    async with agent(relay.hub) as claude:
        late = await claude.fail(
            "relay_send_wait", **asked, message="delay=4000 RELAY_TEST_MARKER=FRONTEND_RELAY_READONLY_OK"
        )
        status = await claude.call("relay_dispatch_status", dispatchId=late["recoveryDispatchId"])
        busy = await claude.call("relay_dispatch", projectId=project, threadId=thread_id, message="not now")
        text = await claude.text("relay_send_wait", threadId=thread_id, message="not now")
        first = relay.hub.dispatch_when(status["dispatchId"])
        again = await claude.fail(
            "relay_send_wait", **asked, message="delay=2000 RELAY_FOLLOWUP_MARKER=POST_RECOVERY_THREAD_FREE_OK"
        )
        second = await claude.call("relay_dispatch_recover", dispatchId=again["recoveryDispatchId"])
        relay.hub.dispatch_when(again["recoveryDispatchId"], values=["succeeded"])
        direct = await claude.call("relay_send_wait", **asked, message="RELAY_DIRECT_SYNC_MARKER=OK")
    cause = f"Timed out while waiting for thread {thread_id} turn {status['turnId']}"
    assert late == {
        "relayCode": "turn_timeout", "rpcCode": -32001, "retryable": True,
        "message": f"{cause} Recovery dispatch {status['dispatchId']} is continuing in background.",
        "cause": cause, "threadId": thread_id, "turnId": status["turnId"], "recoveryDispatchId": status["dispatchId"],
        "recoveryDispatchStatus": "running", "recoveryScheduled": True, "recoveryStatePath": status["statePath"],
        "recoverySuggested": "Use relay_dispatch_status or relay_dispatch_recover with this dispatch id.",
    }  # fmt: skip
    assert status["dispatchStatus"] == "running"
    assert {**busy, "updatedAt": ""} == {**status, "busy": True, "newMessageDelivered": False, "updatedAt": ""}
    assert text.splitlines() == [
        f"Target thread t [{thread_id}] is still busy with relay dispatch {status['dispatchId']}; "
        "the new message was not delivered.",
        f"Active turn: {status['turnId']}.",
        f"Dispatch {status['dispatchId']}: running.",
        "Recovery: wait_worker",
        "Warning: A relay worker is still active for this dispatch.",
        f"Relay state: {status['statePath']}",
    ]
    assert first["replyText"] == "echo: delay=4000 RELAY_TEST_MARKER=FRONTEND_RELAY_READONLY_OK"
    assert (second["recoveryAction"], second["dispatchStatus"]) == ("wait_worker", "running")
    assert direct["replyText"] == "echo: RELAY_DIRECT_SYNC_MARKER=OK"
    assert len(relay.sent(thread_id)) == 3


async def test_a_dispatch_is_accepted_at_once_and_seen_until_its_end(relay: Relay) -> None:
    project, thread_id = relay.place("t")
    asked = {"projectId": project, "threadId": thread_id}
    async with agent(relay.hub) as claude:
        accepted = await claude.call("relay_dispatch_async", **asked, message="delay=300 hello")
        text = await claude.text("relay_dispatch_async", **asked, message="mode=fail", timeoutSec=60)
        dispatch_id = accepted["dispatchId"]
        seen = [await claude.call("relay_dispatch_status", dispatchId=dispatch_id)]
        while seen[-1]["dispatchStatus"] != "succeeded":
            seen.append(await claude.call("relay_dispatch_status", dispatchId=dispatch_id))
        failed = relay.hub.dispatch_when(text.split()[4].rstrip("."))
        status = await claude.call("relay_dispatch_status", dispatchId=failed["dispatchId"])
        words = await claude.text("relay_dispatch_status", dispatchId=dispatch_id)
        unknown = await claude.fail("relay_dispatch_status", dispatchId="nope")
    assert set(accepted) == ACCEPTED
    assert (accepted["created"], accepted["callbackRequested"]) == (False, False)
    assert text.splitlines()[1:] == [
        f"Target thread: t [{thread_id}] (by_thread_id).",
        "Callback requested: no.",
        f"Relay state: {accepted['statePath']}",
    ]
    states = list(dict.fromkeys(each["dispatchStatus"] for each in seen))
    assert [state for state in ("queued", "running", "succeeded") if state in states] == states
    assert any(each["turnId"] for each in seen if each["dispatchStatus"] == "running")
    assert seen[-1].keys() == STATUS | {"replyText", "timingMs"}
    assert (seen[-1]["callbackThreadId"], seen[-1]["callbackStatus"]) == (None, "not_requested")
    assert status.keys() == STATUS | {"errorCode", "errorMessage", "timingMs"}
    assert [status[key] for key in ("dispatchStatus", "errorCode", "errorMessage")] == [
        "failed", "target_turn_failed", "Target turn failed: model exploded",
    ]  # fmt: skip
    assert words.splitlines() == [
        f"Dispatch {dispatch_id}: succeeded.",
        "Callback: not_requested.",
        f"Target thread: t [{thread_id}].",
        "Reply: echo: delay=300 hello",
    ]
    assert failed.keys() >= RECORD
    assert (failed["message"], failed["timeoutSec"], failed["replyText"]) == ("mode=fail", 60, None)
    assert (unknown["relayCode"], unknown["dispatchId"]) == ("dispatch_not_found", "nope")


async def test_what_ends_a_turn_reaches_its_caller_as_data(relay: Relay) -> None:
    _, thread_id = relay.place("t")
    async with agent(relay.hub) as claude:

        async def failing(mode: str) -> dict[str, Any]:
            error = await claude.fail("relay_send_wait", threadId=thread_id, message=f"mode={mode}")
            assert (error["threadId"], error["turnId"] is None) == (thread_id, False)
            return error

        failed, silent, died = [await failing(mode) for mode in ("fail", "noreply", "crash")]
        relay.hold(thread_id)
        busy = await claude.fail("relay_send_wait", threadId=thread_id, message="now")
        relay.free(thread_id)
    assert (failed["relayCode"], failed["rpcCode"], failed["detail"]) == (
        "target_turn_failed", -32603, "model exploded",
    )  # fmt: skip
    assert (silent["relayCode"], silent["rpcCode"]) == ("reply_missing", -32603)
    assert (died["relayCode"], died["rpcCode"], died["cause"]) == ("app_server_unavailable", -32603, died["message"])
    assert (busy["relayCode"], busy["rpcCode"], busy["retryable"]) == ("target_busy", -32600, True)


@pytest.mark.parametrize(
    ("code", "rpc_code"),
    [
        ("project_untrusted", -32602),
        ("thread_not_found", -32602),
        ("target_ambiguous", -32602),
        ("dispatch_not_found", -32602),
        ("callback_target_invalid", -32602),
        ("target_busy", -32600),
        ("turn_timeout", -32001),
        ("app_server_unavailable", -32603),
        ("reply_missing", -32603),
        ("target_turn_failed", -32603),
        ("internal_error", -32603),
    ],
)
def test_each_code_has_the_number_that_the_seeds_callers_know(code: str, rpc_code: int) -> None:
    error = from_code(code, "x").as_structured()
    assert (error["relayCode"], error["rpcCode"]) == (code, rpc_code)


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


async def test_of_two_who_send_at_once_one_is_answered_and_the_other_told_of_it(relay: Relay) -> None:
    _, thread_id = relay.place("t")

    async def send(message: str) -> dict[str, Any]:
        async with agent(relay.hub) as claude:
            return await claude.call("relay_send_wait", threadId=thread_id, message=f"delay=500 {message}")

    answers = await asyncio.gather(send("one"), send("two"))
    (reply,) = (each for each in answers if "busy" not in each)
    (busy,) = (each for each in answers if "busy" in each)
    assert (busy["dispatchId"], busy["newMessageDelivered"]) == (reply["dispatchId"], False)
    assert len(relay.sent(thread_id)) == 1


async def test_a_new_thread_that_cannot_be_read_yet_gets_its_message(relay: Relay) -> None:
    (project,) = relay.place()
    relay.codex.set(missing_reads=10**6)
    async with agent(relay.hub) as claude:
        reply = await claude.call("relay_dispatch", projectId=project, createIfMissing=True, message="hello")
    relay.codex.set(missing_reads=0)
    assert (reply["replyText"], reply["resolution"], reply["created"]) == ("echo: hello", "created_new", True)


async def test_twelve_clients_hand_in_twenty_dispatches_each_and_none_is_lost(relay: Relay) -> None:
    project, *threads = relay.place(*(f"t{n}" for n in range(12)))
    for thread_id in threads:
        relay.hold(thread_id)

    def hand_in(thread_id: str) -> list[str]:
        with httpx.Client(base_url=relay.hub.url, trust_env=False, timeout=60) as client:
            bodies = ({"projectId": project, "threadId": thread_id, "message": f"{n}"} for n in range(20))
            answers = [client.post("/api/dispatches", json=body) for body in bodies]
        assert {answer.status_code for answer in answers} == {202}
        return [answer.json()["dispatchId"] for answer in answers]

    ids = await asyncio.gather(*(asyncio.to_thread(hand_in, thread_id) for thread_id in threads))
    for thread_id, accepted in zip(threads, ids, strict=True):
        page = relay.hub.client.get("/api/dispatches", params={"threadId": thread_id}).json()
        assert [each["dispatchId"] for each in page["dispatches"]] == accepted[::-1]
    for dispatch_id in sum(ids, []):
        relay.hub.client.post(f"/api/dispatches/{dispatch_id}/cancel", json={})
