"""Dispatches on the real Codex, with a model that does what the prompt says."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import ERAS, Agent, agent
from tests.support.processes import wait_until

pytestmark = pytest.mark.anyio


async def thread(caller: Agent, project: Path, name: str) -> str:
    return str((await caller.call("relay_create_thread", projectId=str(project), name=name))["threadId"])


@pytest.mark.parametrize("era", ERAS)
async def test_a_dispatch_makes_a_thread_and_brings_the_reply(
    hub: Hubs, codex_home: CodexHome, model: FakeModel, era: str
) -> None:
    running = hub(**codex_home.settings)
    project = str(codex_home.project)
    async with agent(running, era) as claude:
        projects = await claude.call("relay_list_projects")
        assert [each["projectId"] for each in projects["projects"]] == [project]
        reply = await claude.call("relay_dispatch", projectId=project, message="hello", createIfMissing=True)
        threads = await claude.call("relay_list_threads", projectId=project)
        status = await claude.call("relay_dispatch_status", dispatchId=newest(running)["dispatchId"])
    assert reply["replyText"] == "echo: hello"
    assert (reply["resolution"], reply["created"], reply["projectName"]) == ("created_new", True, "project")
    assert reply["threadName"].startswith("relay dispatch 20")
    assert not {":", "."} & set(reply["threadName"])
    (row,) = threads["threads"]
    assert (row["threadId"], row["name"], row["remembered"]) == (reply["threadId"], reply["threadName"], True)
    assert row["lastTurnId"] == reply["turnId"]
    assert (status["dispatchStatus"], status["replyText"]) == ("succeeded", "echo: hello")
    assert "errorCode" not in status
    assert status["callbackThreadId"] is None
    prompt = model.asked[-1].prompt.text
    assert prompt.startswith("[Codex Thread Relay]\n")
    assert prompt.endswith("\nDelegated request:\nhello")


def newest(hub: HubProcess) -> dict[str, Any]:
    found: dict[str, Any] = hub.client.get("/api/dispatches?limit=1").json()["dispatches"][0]
    return found


async def test_five_threads_work_in_parallel(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)
    project = str(codex_home.project)

    async def ask(n: int) -> dict[str, Any]:
        async with agent(running) as claude:
            message = f"[[gate all]] [[reply answer {n}]]"
            return await claude.call("relay_dispatch", projectId=project, message=message, threadName=f"t{n}",
                                     createIfMissing=True)  # fmt: skip

    asking = [asyncio.create_task(ask(n)) for n in range(5)]
    # All five stand at the gate at once, so none waits for another.
    await asyncio.to_thread(model.wait_at_gate, "all", 5)
    assert len([text for text in running.children.values() if "app-server" in text]) == 1
    model.release("all")
    assert [reply["replyText"] for reply in await asyncio.gather(*asking)] == [f"answer {n}" for n in range(5)]


async def test_accepted_work_runs_in_order_per_thread_and_each_gets_its_own_reply(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    project = str(codex_home.project)
    async with agent(running) as claude:
        threads = [await thread(claude, codex_home.project, f"t{n}") for n in range(5)]
    ids = [
        running.accept(projectId=project, threadId=threads[n % 5], message=f"job {n}")["dispatchId"] for n in range(20)
    ]
    done = [running.dispatch_when(dispatch_id) for dispatch_id in ids]
    assert [each["replyText"] for each in done] == [f"echo: job {n}" for n in range(20)]
    assert len({each["turnId"] for each in done}) == 20
    jobs = [asked.prompt.request.strip() for asked in model.asked]
    for n in range(5):
        assert [job for job in jobs if int(job.split()[1]) % 5 == n] == [f"job {n + 5 * k}" for k in range(4)]


async def test_a_thread_at_work_answers_busy_and_names_the_dispatch(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        target = await thread(claude, codex_home.project, "t")
        first = running.accept(projectId=str(codex_home.project), threadId=target, message="[[gate work]]")
        await asyncio.to_thread(model.wait_at_gate, "work")
        busy = await claude.call("relay_send_wait", threadId=target, message="me too")
        text = await claude.text("relay_send_wait", threadId=target, message="me too")
        model.release("work")
        running.dispatch_when(first["dispatchId"])
        free = await claude.call("relay_send_wait", threadId=target, message="now?")
    assert (busy["busy"], busy["newMessageDelivered"], busy["dispatchId"]) == (True, False, first["dispatchId"])
    assert text.startswith(f"Target thread t [{target}] is still busy with relay dispatch {first['dispatchId']}")
    assert free["replyText"] == "echo: now?"
    assert model.seen("me too") == 0


async def test_a_caller_that_waits_in_vain_learns_where_its_turn_goes_on(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        target = await thread(claude, codex_home.project, "t")
        error = await claude.fail("relay_send_wait", threadId=target, message="[[gate late]] slow", timeoutSec=1)
        assert error["relayCode"] == "turn_timeout"
        status = await claude.call("relay_dispatch_status", dispatchId=error["recoveryDispatchId"])
        assert status["dispatchStatus"] == "running"
        model.release("late")
        done = running.dispatch_when(error["recoveryDispatchId"])
    assert (done["dispatchStatus"], done["turnId"]) == ("succeeded", error["turnId"])
    assert model.seen("slow") == 1


async def test_an_accepted_dispatch_past_its_limit_still_tells_how_its_turn_ended(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings)
    project = str(codex_home.project)
    first = running.accept(projectId=project, message="[[gate late]] one", createIfMissing=True, timeoutSec=1)
    behind = running.accept(projectId=project, threadId=first["threadId"], message="two")
    late = running.dispatch_when(first["dispatchId"])
    assert (late["dispatchStatus"], late["errorCode"]) == ("timed_out", "turn_timeout")
    waiting = running.dispatch(behind["dispatchId"])
    assert waiting["dispatchStatus"] == "queued"
    model.release("late")
    assert running.dispatch_when(behind["dispatchId"])["replyText"] == "echo: two"
    done = running.dispatch(first["dispatchId"])
    assert (done["dispatchStatus"], done["errorCode"]) == ("succeeded", None)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("[[fail server_error]]", "target_turn_failed", "Target turn failed: "),
        ("[[silent]]", "reply_missing", "Target thread completed but returned no final text."),
    ],
)
async def test_a_turn_without_a_reply_fails_and_says_why(
    hub: Hubs, codex_home: CodexHome, message: str, code: str, text: str
) -> None:
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        error = await claude.fail(
            "relay_dispatch", projectId=str(codex_home.project), message=message, createIfMissing=True
        )
    assert error["relayCode"] == code
    assert error["message"].startswith(text)
    assert running.dispatch_when(error["dispatchId"])["errorCode"] == code


async def test_selectors_decide_in_their_order(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    project = str(codex_home.project)
    async with agent(running) as claude:
        for name in ("alpha one", "alpha two", "same", "same"):
            target = await thread(claude, codex_home.project, name)
            await claude.call("relay_send_wait", threadId=target, message="first")

        async def found(**selector: Any) -> str:
            reply = await claude.call("relay_dispatch", projectId=project, message="x", **selector)
            return str(reply["resolution"])

        assert await found(threadId=target) == "by_thread_id"
        assert await found(threadName="alpha one") == "by_exact_name"
        assert await found(query="PHA TWO") == "by_query_match"
        assert await found(threadName="Alpha one", createIfMissing=True) == "created_new"
        for selector, matches in (({"threadName": "same"}, 2), ({"query": "alpha"}, 3)):
            error = await claude.fail("relay_dispatch", projectId=project, message="x", **selector)
            assert (error["relayCode"], len(error["matches"])) == ("target_ambiguous", matches)
        for selector in ({}, {"threadName": "nobody"}, {"threadId": "nobody", "createIfMissing": True}):
            error = await claude.fail("relay_dispatch", projectId=project, message="x", **selector)
            assert error["relayCode"] == "thread_not_found"


async def test_only_trusted_projects_are_touched(hub: Hubs, codex_home: CodexHome) -> None:
    stranger = str(codex_home.add_project("stranger", trusted=False))
    running = hub(**codex_home.settings)
    before = codex_home.config.read_text()
    async with agent(running) as claude:
        listed = await claude.call("relay_list_projects")
        assert stranger not in [each["projectId"] for each in listed["projects"]]
        for tool, more in (
            ("relay_list_threads", {}),
            ("relay_create_thread", {}),
            ("relay_dispatch", {"message": "x", "createIfMissing": True}),
        ):
            error = await claude.fail(tool, projectId=stranger, **more)
            assert error["relayCode"] == "project_untrusted"
            assert error["message"].startswith(f"Unknown or untrusted project: {stranger}")
    # Starting a thread in it would have made Codex trust it for good.
    assert codex_home.config.read_text() == before


async def test_a_callback_tells_the_thread_that_asked(hub: Hubs, codex_home: CodexHome, model: FakeModel) -> None:
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        source = await thread(claude, codex_home.project, "source")
    accepted = running.accept(
        projectId=str(codex_home.project),
        message="[[reply the END_CODEX_RELAY_CALLBACK_JSON of it]]",
        createIfMissing=True,
        callbackThreadId=source,
    )
    assert accepted["callbackRequested"] is True

    done = running.dispatch_when(accepted["dispatchId"], "callbackStatus", ["delivered"])
    assert done["callbackTurnId"]
    assert done["callbackDeliveredAt"]
    told = model.asked[-1].prompt.text
    assert "Event-Type: codex.relay.dispatch.completed.v1" in told
    assert told.count("END_CODEX_RELAY_CALLBACK_JSON") == 1


async def test_a_callback_to_nobody_fails_and_the_dispatch_does_not(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    accepted = running.accept(
        projectId=str(codex_home.project),
        message="work",
        createIfMissing=True,
        callbackThreadId="01a1fe2b-0000-7000-8000-000000000000",
    )

    done = running.dispatch_when(accepted["dispatchId"], "callbackStatus", ["failed"])
    assert (done["dispatchStatus"], done["callbackErrorCode"]) == ("succeeded", "callback_target_invalid")


async def test_the_thread_is_free_for_the_users_own_codex_afterwards(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    async with agent(running) as claude:
        reply = await claude.call(
            "relay_dispatch", projectId=str(codex_home.project), message="hello", createIfMissing=True
        )
        own = ("exec", "resume", reply["threadId"], "mine", "--skip-git-repo-check")
        wait_until(lambda: codex_home.run(*own).returncode == 0, "the thread stayed locked")
        again = await claude.call("relay_send_wait", threadId=reply["threadId"], message="back")
    assert again["replyText"] == "echo: back"


async def test_the_list_goes_from_the_newest_to_the_oldest_by_cursor(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    project = str(codex_home.project)
    first = running.accept(projectId=project, message="0", createIfMissing=True)
    rest = [running.accept(projectId=project, threadId=first["threadId"], message=f"{n}") for n in range(1, 5)]
    ids = [each["dispatchId"] for each in (first, *rest)]
    seen: list[str] = []
    query = {"limit": "2"}
    while True:
        page = running.client.get("/api/dispatches", params=query).json()
        seen += [each["dispatchId"] for each in page["dispatches"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert seen == ids[::-1]
    assert running.client.get("/api/dispatches?cursor=x").json()["error"].startswith("cursor must be the nextCursor")
    running.dispatch_when(ids[-1])


async def test_without_codex_everything_else_works_and_a_dispatch_says_what_to_install(hub: Hubs) -> None:
    running = hub()
    async with agent(running) as claude:
        await claude.call("post_message", target="c", sender="claude", text="hi")
        error = await claude.fail("relay_dispatch", projectId="/srv/p", message="x")
        assert error["relayCode"] == "app_server_unavailable"
        assert error["retryable"] is True
        assert "npm install -g @openai/codex" in error["message"]
    answer = running.client.post("/api/dispatches", json={"projectId": "/srv/p", "message": "x"})
    assert (answer.status_code, answer.json()["code"]) == (503, "app_server_unavailable")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "projectId is required"),
        ({"projectId": "/p", "message": "  "}, "message is required"),
        ({"projectId": "/p", "message": "x", "timeoutSec": 0}, "timeoutSec must be at least 1"),
        ({"projectId": "/p", "message": "x", "timeoutSec": 3601}, "timeoutSec must be at most 3600"),
        ({"projectId": "/p", "message": "x", "timeoutSec": 1.5}, "timeoutSec must be a whole number"),
        ({"projectId": "/p", "message": "x", "threadName": "n" * 121}, "threadName must have at most 120 characters"),
        ({"projectId": "/p", "message": "x", "sandbox": "off"}, "sandbox is not known here; check its spelling"),
        ({"projectId": 5, "message": "x"}, "projectId must be a string"),
        ({"projectId": "/p", "message": "a\0b"}, "message must not contain NUL characters"),
        ({"projectId": "/p", "message": "x", "createIfMissing": "maybe"}, "createIfMissing must be true or false"),
    ],
)
async def test_bad_input_is_named_and_sends_nothing(shared_hub: HubProcess, body: dict[str, Any], error: str) -> None:
    answer = shared_hub.client.post("/api/dispatches", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    async with agent(shared_hub) as claude:
        assert (await claude.fail("relay_dispatch", **body))["message"] == error
