"""Dispatches on a scripted app-server: what the real one cannot be made to do on demand."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.codex import FakeCodex
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent
from tests.support.processes import wait_until

pytestmark = pytest.mark.anyio

Start = Callable[..., tuple[HubProcess, FakeCodex, str]]


@pytest.fixture
def start(hub: Hubs, tmp_path: Path) -> Start:
    """Starts a hub on a scripted Codex with one trusted project and one thread in it."""

    def start(knobs: dict[str, Any] | None = None, **settings: Any) -> tuple[HubProcess, FakeCodex, str]:
        fake = FakeCodex(tmp_path / "fake", **{"trusted": ["/srv/p"], **(knobs or {})})
        (thread_id,) = fake.add_threads(1, "/srv/p")
        return hub(codex_command=fake.command, **settings), fake, thread_id

    return start


def accept(hub: HubProcess, thread_id: str, message: str, **more: Any) -> str:
    return str(hub.accept(projectId="/srv/p", threadId=thread_id, message=message, **more)["dispatchId"])


@pytest.mark.parametrize(
    ("mode", "reply"),
    [
        ("commentary", "echo: x mode=commentary"),
        ("nophase", "echo: x mode=nophase"),
        ("retry", "echo: x mode=retry"),
        ("approval", None),
    ],
)
async def test_the_reply_is_the_final_answer_whatever_is_said_around_it(
    start: Start, mode: str, reply: str | None
) -> None:
    hub, fake, thread_id = start({"approval_id": "pending"}, codex_approval="never")
    async with agent(hub) as claude:
        answer = await claude.call("relay_send_wait", threadId=thread_id, message=f"x mode={mode}", timeoutSec=20)
    if reply is not None:
        assert answer["replyText"] == reply
    assert len(fake.received("turn/start")) == 1


@pytest.mark.parametrize(
    ("mode", "code", "text"),
    [
        ("fail", "target_turn_failed", "Target turn failed: model exploded"),
        ("interrupt", "target_turn_failed", "Target turn failed: interrupted"),
        ("noreply", "reply_missing", "Target thread completed but returned no final text."),
        ("crash", "app_server_unavailable", "codex app-server exited unexpectedly"),
    ],
)
async def test_a_turn_that_ends_badly_says_how_and_frees_the_thread(
    start: Start, mode: str, code: str, text: str
) -> None:
    hub, _, thread_id = start()
    async with agent(hub) as claude:
        error = await claude.fail("relay_send_wait", threadId=thread_id, message=f"mode={mode}", timeoutSec=60)
        assert error["relayCode"] == code
        assert error["message"].startswith(text)
        again = await claude.call("relay_send_wait", threadId=thread_id, message="again")
    assert again["replyText"] == "echo: again"


@pytest.mark.parametrize("knob", [{"active_writer": True}, {"status": "active"}])
async def test_a_thread_in_use_elsewhere_refuses_who_waits_and_delays_who_does_not(
    start: Start, knob: dict[str, Any]
) -> None:
    hub, fake, thread_id = start(knob)
    async with agent(hub) as claude:
        error = await claude.fail("relay_send_wait", threadId=thread_id, message="now")
        assert (error["relayCode"], error["retryable"]) == ("target_busy", True)
        later = accept(hub, thread_id, "later")
        wait_until(lambda: len(fake.received("thread/resume")) > 1, "it was not tried")
        hub.dispatch_when(later, values=["queued"])
        assert fake.received("turn/start") == []
        fake.set(active_writer=False, status=None)
        assert hub.dispatch_when(later, values=["succeeded"])["replyText"] == "echo: later"
    assert len(fake.received("turn/start")) == 1


async def test_the_message_is_sent_with_an_id_that_the_thread_can_be_asked_for(start: Start) -> None:
    hub, fake, thread_id = start()
    dispatch_id = accept(hub, thread_id, "hello")
    hub.dispatch_when(dispatch_id, values=["succeeded"])
    (turn,) = fake.received("turn/start")
    assert turn["params"]["clientUserMessageId"] == f"{dispatch_id}/1"
    assert turn["params"]["input"][0]["text"].endswith("\n\nDelegated request:\nhello")
    resume = fake.received("thread/resume")[0]["params"]
    assert resume["sandbox"] == "workspace-write"


async def test_one_app_server_serves_everything_and_gets_the_documented_arguments(start: Start) -> None:
    hub, fake, thread_id = start()
    for n in range(5):
        hub.dispatch_when(accept(hub, thread_id, f"{n}"), values=["succeeded"])
    (started,) = fake.starts()
    assert started["argv"][:6] == [
        "app-server", "-c", 'approval_policy="never"', "-c", 'service_tier="fast"', "-c",
    ]  # fmt: skip
    assert started["argv"][6] == "mcp_servers.relay.enabled=false"
    methods = [frame["method"] for frame in fake.received()]
    assert methods[:2] == ["initialize", "initialized"]


async def test_a_remembered_thread_is_forgotten_only_when_codex_says_that_it_is_gone(start: Start) -> None:
    hub, fake, _ = start(codex_request_timeout_ms=3000)
    async with agent(hub) as claude:
        made = await claude.call("relay_create_thread", projectId="/srv/p", name="  a  ")
        assert (made["name"], made["threadName"], made["warning"]) == ("a", "a", None)

        async def is_listed() -> bool:
            listed = await claude.call("relay_list_threads", projectId="/srv/p", query=made["threadId"])
            return bool(listed["threads"])

        assert await is_listed()
        fake.set(never_answer=["thread/read"])
        assert await is_listed()
        fake.set(never_answer=[])
        assert await is_listed()


async def test_a_rename_that_fails_is_a_warning_and_the_name_is_the_real_one(start: Start) -> None:
    hub, _, _ = start({"refuse_rename": True})
    async with agent(hub) as claude:
        made = await claude.call("relay_create_thread", projectId="/srv/p", name="wish")
    assert made["warning"].startswith("Thread created but rename failed: ")
    assert made["name"] == made["threadId"]


async def test_an_app_server_that_does_not_answer_is_given_up_in_time(start: Start) -> None:
    hub, _, _ = start({"never_answer": ["thread/list"]}, codex_request_timeout_ms=3000)
    async with agent(hub) as claude:
        error = await claude.fail("relay_list_threads", projectId="/srv/p")
    assert (error["relayCode"], error["message"]) == ("internal_error", "Request timed out: thread/list")


@pytest.mark.skipif(os.name == "nt", reason="POSIX program")
async def test_a_program_that_is_no_app_server_is_an_error_and_not_the_end(hub: Hubs) -> None:
    running = hub(codex_command="false")
    async with agent(running) as claude:
        error = await claude.fail("relay_list_projects")
    assert error["relayCode"] == "app_server_unavailable"
    assert running.client.get("/healthz").text == "ok"


async def test_hundreds_of_threads_are_all_listed(start: Start) -> None:
    hub, fake, _ = start({"page_size": 100})
    fake.add_threads(249, "/srv/p")
    async with agent(hub) as claude:
        listed = await claude.call("relay_list_threads", projectId="/srv/p/")
    assert len(listed["threads"]) == 250
    assert all(not frame["params"]["archived"] for frame in fake.received("thread/list"))


async def test_waiting_for_a_thread_does_not_use_up_the_time_limit(start: Start) -> None:
    hub, fake, thread_id = start({"active_writer": True})
    dispatch_id = accept(hub, thread_id, "delay=500 x", timeoutSec=2)
    # Two attempts later more time has passed than the turn may take.
    wait_until(lambda: len(fake.received("thread/resume")) >= 2, "it was not tried again", timeout=30)
    fake.set(active_writer=False)
    done = hub.dispatch_when(dispatch_id, values=["succeeded"])
    # Fifteen seconds went by between the attempts; none of them belongs to the turn.
    assert done["timingMs"] < 10_000


async def test_a_turn_whose_start_was_not_answered_is_looked_for_and_not_sent_again(start: Start) -> None:
    hub, fake, thread_id = start(codex_request_timeout_ms=3000)
    dispatch_id = accept(hub, thread_id, "mode=hang_start x")
    wait_until(lambda: fake.received("turn/start"), "nothing was sent")

    looked = hub.dispatch_when(dispatch_id, "attempt", range(2, 9))
    assert looked["dispatchStatus"] in ("queued", "running")
    ids = [frame["params"]["clientUserMessageId"] for frame in fake.received("turn/start")]
    assert len(ids) == len(set(ids))


async def test_trust_that_was_withdrawn_while_a_dispatch_waited_stops_it(start: Start) -> None:
    hub, fake, thread_id = start({"active_writer": True})
    dispatch_id = accept(hub, thread_id, "late")
    wait_until(lambda: fake.received("thread/resume"), "it was not tried")
    fake.set(trusted=[], active_writer=False)
    assert hub.dispatch_when(dispatch_id, values=["failed"])["errorCode"] == "project_untrusted"
    assert fake.received("turn/start") == []


def test_a_request_that_the_stop_cuts_off_is_told_so(start: Start) -> None:
    hub, fake, thread_id = start()
    fake.set(never_answer=["thread/read"])
    body = {"projectId": "/srv/p", "threadId": thread_id, "message": "late"}
    with ThreadPoolExecutor(1) as askers:
        asked = askers.submit(hub.client.post, "/api/dispatches", json=body)
        wait_until(lambda: fake.received("thread/read"), "Codex was not asked")
        hub.stop()
        answer = asked.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "hub_stopping")
    assert "Traceback" not in hub.log
