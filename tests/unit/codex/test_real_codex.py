"""The same client against the real Codex, whose model is the fake one."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from app.codex.client import CodexClient
from app.codex.limits import Limits
from app.codex.pool import Pool
from app.codex.process import AppServerProcess
from app.codex.projects import belongs, trusted_projects
from app.codex.protocol import TurnLog
from app.codex.questions import Question
from app.errors import TargetBusy, ThreadNotFound
from app.settings import Settings
from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome

pytestmark = pytest.mark.anyio

LIMITS = Limits("workspace-write", "never")
HUB = """
import asyncio, sys
from pathlib import Path
from app.codex.process import AppServerProcess
from app.codex.client import CodexClient
from app.codex.limits import Limits
from app.settings import Settings

async def main():
    settings = Settings(codex_command=sys.argv[1], codex_home=Path(sys.argv[2]))
    process = await AppServerProcess.spawn(settings)
    client = CodexClient(process, settings)
    await client.initialize()
    thread = await client.start_thread(sys.argv[3], Limits("workspace-write", "never"))
    await client.name_thread(thread.id, "left behind")
    print(process.pid, thread.id, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def new_thread(client: CodexClient, home: CodexHome, name: str = "worker") -> str:
    thread = await client.start_thread(str(home.project), LIMITS)
    await client.name_thread(thread.id, name)
    return thread.id


async def run_turn(client: CodexClient, thread_id: str, text: str, message_id: str = "d/1") -> TurnLog:
    log = TurnLog(message_id)
    with client.watch(thread_id) as watch:
        log.turn_id = await client.start_turn(thread_id, text, message_id)
        async with asyncio.timeout(30):
            async for notification in watch:
                log.feed(notification)
                if log.completed:
                    break
    return log


def group_is_empty(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("table", ["", 'url = "http://127.0.0.1:9/mine"\nrequired = true', 'command = "cat"'])
async def test_codex_takes_our_arguments_with_and_without_a_relay_server(
    real_settings: Settings, codex_home: CodexHome, table: str
) -> None:
    if table:
        codex_home.append(f"[mcp_servers.relay]\n{table}\n")
    pool = Pool(real_settings)
    client = await pool.client()
    config = await client.config()
    assert config["approval_policy"] == "never"
    assert config["mcp_servers"]["relay"]["enabled"] is False
    assert (await client.start_thread(str(codex_home.project), LIMITS)).id
    await pool.aclose()


async def test_a_relay_server_that_is_added_later_stays_off(real_client: CodexClient, codex_home: CodexHome) -> None:
    codex_home.add_mcp_server("relay", "http://127.0.0.1:9/added")
    thread_id = await new_thread(real_client, codex_home)
    with real_client.watch(thread_id) as watch:
        log = await run_turn(real_client, thread_id, "hello")
        async for notification in watch:
            assert "mcpServer" not in notification.method
            if notification.method == "turn/completed":
                break
    assert log.result.succeeded


async def test_the_handshake_gives_the_version_and_the_trusted_project(
    real_client: CodexClient, codex_home: CodexHome
) -> None:
    assert real_client.version.count(".") == 2
    (project,) = trusted_projects(await real_client.config())
    assert project.path == str(codex_home.project)


async def test_a_turn_gives_its_reply_and_our_message_id_is_found_again(
    real_client: CodexClient, codex_home: CodexHome
) -> None:
    thread_id = await new_thread(real_client, codex_home)
    assert await real_client.turns(thread_id) == []
    log = await run_turn(real_client, thread_id, "hello", "d/7")
    assert log.accepted
    assert log.result.succeeded
    assert log.result.reply
    (turn,) = await real_client.turns(thread_id)
    assert turn.id == log.turn_id
    assert turn.ended
    assert turn.has_message("d/7")
    (thread,) = await real_client.threads()
    assert (thread.id, thread.name, thread.preview) == (thread_id, "worker", "hello")
    (project,) = trusted_projects(await real_client.config())
    assert belongs(thread, project)


async def test_a_turn_can_be_interrupted_right_after_its_start(real_client: CodexClient, codex_home: CodexHome) -> None:
    thread_id = await new_thread(real_client, codex_home)
    with real_client.watch(thread_id) as watch:
        log = TurnLog("d/1", await real_client.start_turn(thread_id, "[[slow 60]]", "d/1"))
        assert await real_client.interrupt(thread_id, log.turn_id or "")
        async with asyncio.timeout(10):
            async for notification in watch:
                log.feed(notification)
                if log.completed:
                    break
    assert log.result.status == "interrupted"
    assert not await real_client.interrupt(thread_id, "another")


async def test_a_thread_that_was_let_go_can_be_resumed_at_once_again_and_again(
    real_client: CodexClient, codex_home: CodexHome
) -> None:
    thread_id = await new_thread(real_client, codex_home)
    for number in range(8):
        await real_client.unsubscribe(thread_id)
        await real_client.resume(thread_id, LIMITS)
        assert (await run_turn(real_client, thread_id, f"hello {number}")).result.succeeded


async def test_a_thread_is_busy_for_another_codex_until_it_is_let_go(
    real_client: CodexClient, codex_home: CodexHome, real_settings: Settings
) -> None:
    thread_id = await new_thread(real_client, codex_home)
    other_pool = Pool(real_settings.model_copy(update={"data_dir": real_settings.data_dir / "other"}))
    other = await other_pool.client()
    with pytest.raises(TargetBusy):
        await other.resume(thread_id)
    with real_client.watch(thread_id) as watch:
        await real_client.unsubscribe(thread_id)
        async with asyncio.timeout(10):
            async for notification in watch:
                if notification.method == "thread/closed":
                    break
    assert (await other.resume(thread_id)).name == "worker"
    await other_pool.aclose()


async def test_a_named_thread_that_was_never_used_survives_a_restart_and_is_listed_after_its_first_turn(
    real_settings: Settings, codex_home: CodexHome
) -> None:
    pool = Pool(real_settings)
    thread_id = await new_thread(await pool.client(), codex_home)
    await pool.aclose()
    pool = Pool(real_settings)
    client = await pool.client()
    assert (await client.thread(thread_id)).name == "worker"
    assert await client.turns(thread_id) == []
    assert await client.threads() == []
    await client.resume(thread_id, LIMITS)
    assert (await run_turn(client, thread_id, "first")).result.succeeded
    assert [thread.id for thread in await client.threads(str(codex_home.project))] == [thread_id]
    await pool.aclose()


@pytest.mark.parametrize("thread_id", ["01234567-89ab-7def-8123-456789abcdef", "zzz"])
async def test_threads_that_are_not_there_are_not_found(real_client: CodexClient, thread_id: str) -> None:
    for call in (real_client.thread, real_client.resume, real_client.turns):
        with pytest.raises(ThreadNotFound):
            await call(thread_id)


async def test_a_turn_that_runs_is_taken_up_by_who_comes_next(
    real_settings: Settings, codex_home: CodexHome, model: FakeModel
) -> None:
    first, pool = await Pool(real_settings).client(), Pool(real_settings)
    thread_id = await new_thread(first, codex_home)
    log = TurnLog("d/1", await first.start_turn(thread_id, "[[gate work]] careful", "d/1"))
    await asyncio.to_thread(model.wait_at_gate, "work")
    await first.aclose()
    second = await pool.client()
    with second.watch(thread_id) as watch:
        assert (await second.resume(thread_id)).status == "active"
        model.release("work")
        async with asyncio.timeout(10):
            while not log.completed:
                log.feed(await anext(watch))
    assert log.result.reply == "echo: careful"
    await pool.aclose()


async def test_a_question_that_waits_is_asked_again_of_who_comes_next(
    real_settings: Settings, codex_home: CodexHome, short_path: Path
) -> None:
    socket = short_path / "given.sock"
    arguments = ("app-server", "-c", 'model="gpt-6.1-sol"', "--listen", f"unix://{socket}")
    settings = real_settings.model_copy(update={"codex_args": arguments})
    questions: asyncio.Queue[Question] = asyncio.Queue()

    async def never(question: Question) -> dict[str, Any]:
        questions.put_nowait(question)
        return await asyncio.Future()

    async def accept(question: Question) -> dict[str, Any]:
        questions.put_nowait(question)
        return {"decision": "accept"}

    first = await Pool(settings, never).client()
    thread_id = (await first.start_thread(str(codex_home.project), Limits("read-only", "on-request"))).id
    log = TurnLog("d/1", await first.start_turn(thread_id, "[[patch asked yes]]", "d/1"))
    async with asyncio.timeout(20):
        asked = await questions.get()
    assert asked.method == "item/fileChange/requestApproval"
    await first.aclose()
    pool = Pool(settings, accept)
    second = await pool.client()
    with second.watch(thread_id) as watch:
        assert (await second.resume(thread_id)).status == "active"
        async with asyncio.timeout(20):
            while not log.completed:
                log.feed(await anext(watch))
    again = questions.get_nowait()
    assert (again.id, again.method, again.params) == (asked.id, asked.method, asked.params)
    # What is to be changed was told before this connection; it is found all the same.
    assert asked.item
    assert again.item
    assert again.item["changes"] == asked.item["changes"]
    assert (codex_home.project / "asked").exists()
    await pool.aclose()
    assert not socket.exists()


async def test_over_standard_streams_a_stop_leaves_nothing_of_the_process_group(
    real_settings: Settings, codex_home: CodexHome
) -> None:
    process = await AppServerProcess.spawn(real_settings)
    client = CodexClient(process, real_settings)
    await client.initialize()
    await client.start_turn(await new_thread(client, codex_home), "[[slow 60]]", "d/1")
    async with asyncio.timeout(10):
        await client.aclose()
    assert group_is_empty(process.pid)


async def test_over_standard_streams_a_hub_that_is_killed_leaves_no_app_server_and_no_lock(
    real_settings: Settings, codex_home: CodexHome
) -> None:
    hub = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HUB, real_settings.codex_command, str(codex_home.path), str(codex_home.project)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert hub.stdout
    async with asyncio.timeout(20):
        pid, thread_id = (await hub.stdout.readline()).decode().split()
        hub.send_signal(signal.SIGKILL)
        await hub.wait()
        while not group_is_empty(int(pid)):
            await asyncio.to_thread(os.sched_yield)
    pool = Pool(real_settings)
    client = await pool.client()
    assert (await client.resume(thread_id)).name == "left behind"
    await pool.aclose()
