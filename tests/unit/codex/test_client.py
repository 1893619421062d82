import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.codex.client import CodexClient
from app.codex.jsonrpc import METHOD_NOT_FOUND, RpcError
from app.codex.limits import Limits
from app.codex.pool import Pool
from app.codex.projects import trusted_projects
from app.codex.protocol import TurnLog
from app.codex.questions import Question, decline
from app.errors import AppServerUnavailable, InternalError, TargetBusy, TargetTurnFailed, ThreadNotFound
from app.settings import Settings
from tests.fakes.codex import FakeCodex

pytestmark = pytest.mark.anyio

LIMITS = Limits("read-only", "on-request")


async def run_turn(client: CodexClient, thread_id: str, text: str) -> TurnLog:
    """Send a message and follow its turn to the end."""
    log = TurnLog("d/1")
    with client.watch(thread_id) as watch:
        log.turn_id = await client.start_turn(thread_id, text, "d/1")
        async with asyncio.timeout(10):
            async for notification in watch:
                log.feed(notification)
                if log.completed:
                    break
    return log


async def new_thread(client: CodexClient) -> str:
    thread = await client.start_thread("/srv/p", LIMITS)
    await client.name_thread(thread.id, "worker")
    return thread.id


async def test_the_handshake_comes_first_and_gives_the_version(client: CodexClient, fake: FakeCodex) -> None:
    assert client.version == "0.169.0"
    await client.config()
    frames = fake.received()
    assert [frame["method"] for frame in frames] == ["initialize", "initialized", "config/read"]
    info = {"name": "relay-hub", "title": "Relay Hub", "version": __version__}
    assert frames[0]["params"] == {"clientInfo": info, "capabilities": None}


async def test_a_thread_of_an_older_codex_is_loaded_with_its_turns(client: CodexClient, fake: FakeCodex) -> None:
    fake.set(version="0.150.0")
    thread_id = await new_thread(client)
    for _ in range(2):
        assert (await client.resume(thread_id, LIMITS)).id == thread_id
    asked = ["excludeTurns" in frame["params"] for frame in fake.received("thread/resume")]
    assert asked == [True, False, False]


async def test_the_configuration_names_the_trusted_projects(client: CodexClient) -> None:
    assert [project.path for project in trusted_projects(await client.config())] == ["/srv/p"]


async def test_all_pages_of_threads_are_read_without_the_archived(client: CodexClient, fake: FakeCodex) -> None:
    fake.set(page_size=200)
    fake.add_threads(450, "/srv/p")
    threads = await client.threads()
    assert len({thread.id for thread in threads}) == 450
    asked = [frame["params"] for frame in fake.received("thread/list")]
    assert [(p["archived"], p.get("cursor")) for p in asked] == [(False, None), (False, "200"), (False, "400")]


async def test_threads_of_one_folder_are_asked_for_by_the_folder(client: CodexClient, fake: FakeCodex) -> None:
    fake.add_threads(2, "/srv/p")
    fake.add_threads(1, "/srv/q")
    assert [thread.cwd for thread in await client.threads("/srv/q")] == ["/srv/q"]


async def test_a_thread_is_started_in_its_folder_and_named(client: CodexClient, fake: FakeCodex) -> None:
    thread_id = await new_thread(client)
    thread = await client.thread(thread_id)
    assert (thread.cwd, thread.name, thread.status) == ("/srv/p", "worker", "idle")
    assert fake.received("thread/start")[0]["params"] == {
        "cwd": "/srv/p",
        "sandbox": "read-only",
        "approvalPolicy": "on-request",
        "approvalsReviewer": "user",
    }


@pytest.mark.parametrize(
    ("text", "status", "reply", "error"),
    [
        ("hello", "completed", "echo: hello", None),
        ("delay=50 later", "completed", "echo: delay=50 later", None),
        ("mode=commentary x", "completed", "echo: mode=commentary x", None),
        ("mode=nophase x", "completed", "echo: mode=nophase x", None),
        ("mode=retry x", "completed", "echo: mode=retry x", None),
        ("mode=noreply", "completed", None, None),
        ("mode=fail", "failed", None, "model exploded"),
        ("mode=interrupt", "interrupted", None, None),
        ("mode=approval x", "completed", "echo: mode=approval x [decline]", None),
    ],
)
async def test_a_turn_is_followed_to_its_result(
    client: CodexClient, text: str, status: str, reply: str | None, error: str | None
) -> None:
    log = await run_turn(client, await new_thread(client), text)
    assert (log.result.status, log.result.reply, log.result.error) == (status, reply, error)
    assert log.accepted


async def test_notifications_before_the_answer_to_turn_start_are_not_lost(client: CodexClient, fake: FakeCodex) -> None:
    fake.set(early_events=True)
    log = await run_turn(client, await new_thread(client), "quick")
    assert log.result.reply == "echo: quick"


@pytest.mark.parametrize("approval_id", [0, 1, "pending", "text"])
async def test_a_question_is_declined_whatever_its_id(
    client: CodexClient, fake: FakeCodex, approval_id: object
) -> None:
    fake.set(approval_id=approval_id)
    log = await run_turn(client, await new_thread(client), "mode=approval")
    assert log.result.reply == "echo: mode=approval [decline]"


async def test_the_answers_may_come_from_outside(make_settings: Callable[..., Settings]) -> None:
    async def accept(question: Question) -> dict[str, Any]:
        return {"decision": "accept" if question.params["command"] == "ls" else "decline"}

    pool = Pool(make_settings(), accept)
    client = await pool.client()
    log = await run_turn(client, await new_thread(client), "mode=approval")
    await pool.aclose()
    assert log.result.reply == "echo: mode=approval [accept]"


async def test_every_known_question_has_its_form_of_no() -> None:
    for method, no in (
        ("item/fileChange/requestApproval", {"decision": "decline"}),
        ("item/tool/requestUserInput", {"answers": {}}),
        ("mcpServer/elicitation/request", {"action": "decline", "content": None, "_meta": None}),
        ("item/permissions/requestApproval", {"permissions": {}, "scope": "turn"}),
    ):
        assert await decline(Question(0, method, {})) == no
    with pytest.raises(RpcError) as caught:
        await decline(Question(0, "item/tool/call", {}))
    assert caught.value.code == METHOD_NOT_FOUND


async def test_turns_come_newest_first_with_our_message_ids(client: CodexClient) -> None:
    thread_id = await new_thread(client)
    assert await client.turns(thread_id) == []
    first = await run_turn(client, thread_id, "one")
    second = await run_turn(client, thread_id, "two")
    turns = await client.turns(thread_id)
    assert [turn.id for turn in turns] == [second.turn_id, first.turn_id]
    assert all(turn.has_message("d/1") for turn in turns)
    assert len(await client.turns(thread_id, limit=1)) == 1


async def test_a_turn_is_interrupted_even_when_asked_before_it_started(client: CodexClient, fake: FakeCodex) -> None:
    fake.set(late_start_ms=150)
    thread_id = await new_thread(client)
    with client.watch(thread_id) as watch:
        log = TurnLog("d/1", await client.start_turn(thread_id, "delay=20000", "d/1"))
        assert await client.interrupt(thread_id, log.turn_id or "")
        async with asyncio.timeout(5):
            async for notification in watch:
                log.feed(notification)
                if log.completed:
                    break
    assert log.result.status == "interrupted"
    assert len(fake.received("turn/interrupt")) > 1


async def test_a_turn_that_gave_way_to_another_is_not_interrupted(client: CodexClient) -> None:
    thread_id = await new_thread(client)
    running = TurnLog("d/1", await client.start_turn(thread_id, "delay=20000", "d/1"))
    with client.watch(thread_id) as watch:
        async with asyncio.timeout(5):
            assert await client.interrupt(thread_id, running.turn_id or "")
            assert [n.method async for n in until_end(watch)][-1] == "turn/completed"
    other = await client.start_turn(thread_id, "delay=20000", "d/2")
    assert not await client.interrupt(thread_id, "gone")
    assert await client.interrupt(thread_id, other)


async def until_end(watch: Any) -> Any:
    async for notification in watch:
        yield notification
        if notification.method == "turn/completed":
            return


async def test_a_watch_that_nobody_reads_holds_up_nothing(client: CodexClient) -> None:
    thread_id = await new_thread(client)
    with client.watch(thread_id):
        assert (await run_turn(client, thread_id, "hello")).result.reply == "echo: hello"


async def test_a_watch_hears_of_its_own_thread_only(client: CodexClient) -> None:
    mine, other = await new_thread(client), await new_thread(client)
    with client.watch(mine) as watch:
        await run_turn(client, other, "elsewhere")
        await run_turn(client, mine, "here")
        async with asyncio.timeout(5):
            heard = [notification async for notification in until_end(watch)]
    assert {notification.params["threadId"] for notification in heard} == {mine}


async def test_an_app_server_that_dies_in_a_turn_ends_its_watchers(client: CodexClient) -> None:
    with pytest.raises(AppServerUnavailable, match=r"exited unexpectedly \(code 3\)"):
        await run_turn(client, await new_thread(client), "mode=crash")
    with client.watch("t") as watch, pytest.raises(AppServerUnavailable, match="code 3"):
        await anext(watch)
    with pytest.raises(AppServerUnavailable, match="code 3"):
        await client.threads()


async def test_a_thread_of_another_writer_is_busy(client: CodexClient, fake: FakeCodex) -> None:
    (thread_id,) = fake.add_threads(1, "/srv/p")
    fake.set(active_writer=True)
    with pytest.raises(TargetBusy, match="open in another Codex"):
        await client.resume(thread_id)


async def test_a_thread_that_was_let_go_is_free_for_another_codex(
    client: CodexClient, make_settings: Callable[..., Settings], data_dir: Path
) -> None:
    thread_id = await new_thread(client)
    await run_turn(client, thread_id, "hello")
    other_pool = Pool(make_settings(data_dir=data_dir / "other"))
    other = await other_pool.client()
    with pytest.raises(TargetBusy):
        await other.resume(thread_id)
    await client.unsubscribe(thread_id)
    assert (await other.resume(thread_id, LIMITS)).id == thread_id
    await other_pool.aclose()


async def test_threads_that_are_not_there_are_not_found(client: CodexClient) -> None:
    for call in (client.thread("x"), client.resume("x"), client.turns("x"), client.start_turn("x", "hi", "d/1")):
        with pytest.raises(ThreadNotFound, match="Thread not found: x"):
            await call


async def test_a_refusal_without_a_name_keeps_its_text(client: CodexClient, fake: FakeCodex) -> None:
    fake.set(refuse_rename=True)
    thread = await client.start_thread("/srv/p", LIMITS)
    with pytest.raises(InternalError, match="the name is taken"):
        await client.name_thread(thread.id, "x")


@pytest.mark.parametrize("method", ["thread/list", "turn/start"])
async def test_a_method_that_is_never_answered_times_out(
    make_settings: Callable[..., Settings], fake: FakeCodex, method: str
) -> None:
    fake.set(never_answer=[method])
    pool = Pool(make_settings(codex_request_timeout_ms=5000))
    client = await pool.client()
    with pytest.raises(InternalError, match=f"Request timed out: {method}"):
        await (client.threads() if method == "thread/list" else client.start_turn("t", "x", "d/1"))
    await pool.aclose()


async def test_a_start_without_a_turn_id_is_a_failed_turn(client: CodexClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object) -> dict[str, Any]:
        return {"turn": {}}

    monkeypatch.setattr(client, "_request", answer)
    with pytest.raises(TargetTurnFailed, match=r"^turn/start did not return a turn id\.$"):
        await client.start_turn("t", "x", "d/1")
