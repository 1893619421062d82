"""An app-server that outlives the hub: found, started, left alone, ended."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.codex import detached, launch, leftovers, output
from app.codex.address import listening
from app.codex.client import CodexClient
from app.codex.detached import gone
from app.codex.limits import Limits
from app.codex.pool import Pool
from app.codex.protocol import TurnLog
from app.codex.questions import Question
from app.errors import AppServerUnavailable
from app.settings import Settings
from tests.fakes.codex import FakeCodex

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="sockets of POSIX")]

LIMITS = Limits("read-only", "on-request")

MakeSettings = Callable[..., Settings]
Open = Callable[..., Pool]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the hub runs on uvloop where it is installed."""
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def hub(make_settings: MakeSettings) -> AsyncIterator[Open]:
    """Pools of hubs with one data folder."""
    async with contextlib.AsyncExitStack() as stack:

        def open_pool(*args: Any, **settings: Any) -> Pool:
            pool = Pool(make_settings(**settings), *args)
            stack.push_async_callback(pool.aclose)
            return pool

        yield open_pool


async def leave(client: CodexClient) -> None:
    """As a hub that is killed does it."""
    await client.aclose()


async def begin_turn(client: CodexClient, text: str) -> tuple[str, TurnLog]:
    """A turn that has begun, in a thread of its own."""
    thread_id = (await client.start_thread("/srv/p", LIMITS)).id
    await client.name_thread(thread_id, "worker")
    with client.watch(thread_id) as watch:
        log = TurnLog("d/1", await client.start_turn(thread_id, text, "d/1"))
        while not log.accepted:
            log.feed(await anext(watch))
    return thread_id, log


async def take_up(client: CodexClient, thread_id: str, log: TurnLog) -> str:
    """Subscribe again, and follow the turn to its end: the thread's status before."""
    with client.watch(thread_id) as watch:
        status = (await client.resume(thread_id)).status
        async with asyncio.timeout(10):
            while not log.completed:
                log.feed(await anext(watch))
    return status


def sockets(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.sock")]


async def test_who_comes_next_finds_it_and_gets_the_rest_of_the_turn(hub: Open, fake: FakeCodex) -> None:
    first = await hub().client()
    thread_id, log = await begin_turn(first, "delay=1000 long")
    await leave(first)
    second = await hub().client()
    assert await take_up(second, thread_id, log) == "active"
    assert log.result.reply == "echo: delay=1000 long"
    assert len(fake.starts()) == 1


async def test_a_question_that_waits_is_asked_again(hub: Open) -> None:
    asked = asyncio.Event()

    async def never(question: Question) -> dict[str, Any]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def accept(question: Question) -> dict[str, Any]:
        return {"decision": "accept"}

    first = await hub(never).client()
    thread_id, log = await begin_turn(first, "mode=approval")
    await asked.wait()
    await leave(first)
    await take_up(await hub(accept).client(), thread_id, log)
    assert log.result.reply == "echo: mode=approval [accept]"


async def test_two_that_start_together_share_one(hub: Open, fake: FakeCodex) -> None:
    first, second = await asyncio.gather(hub().client(), hub().client())
    thread_id = (await first.start_thread("/srv/p", LIMITS)).id
    assert thread_id in await second.loaded()
    await first.unsubscribe(thread_id)


async def test_a_socket_that_nobody_serves_any_more_is_taken_over(hub: Open, fake: FakeCodex, data_dir: Path) -> None:
    client = await hub().client()
    with client.watch("t") as watch:
        os.kill(fake.starts()[0]["pid"], signal.SIGKILL)
        with pytest.raises(AppServerUnavailable, match="signal SIGKILL"):
            await anext(watch)
    (stale,) = sockets(data_dir)
    assert (await hub().client()).version
    assert sockets(data_dir) == [stale]


async def test_the_end_of_one_that_was_found_is_noticed(hub: Open, fake: FakeCodex) -> None:
    await leave(await hub().client())
    found = await hub().client()
    with found.watch("t") as watch:
        os.kill(fake.starts()[0]["pid"], signal.SIGKILL)
        with pytest.raises(AppServerUnavailable, match=r"exited unexpectedly \(ended\)"):
            await anext(watch)


async def test_a_stop_ends_it_when_nothing_is_loaded(hub: Open, fake: FakeCodex, data_dir: Path) -> None:
    pool = hub()
    client = await pool.client()
    thread_id, log = await begin_turn(client, "quick")
    await take_up(client, thread_id, log)
    await pool.aclose()
    assert await gone(fake.starts()[0]["pid"], 5)
    assert sockets(data_dir) == []


async def test_a_stop_leaves_a_turn_alone_and_the_one_after_it_ends_it(
    hub: Open, fake: FakeCodex, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "relay_hub.codex")
    pool = hub()
    thread_id, log = await begin_turn(await pool.client(), "delay=1500 long")
    await pool.aclose()
    pid = fake.starts()[0]["pid"]
    assert f"pid {pid}, goes on with its work" in caplog.text
    pool = hub()
    await take_up(await pool.client(), thread_id, log)
    await pool.aclose()
    assert await gone(pid, 5)


async def test_one_that_drains_refuses_until_it_is_gone_and_then_there_is_another(hub: Open, fake: FakeCodex) -> None:
    first = await hub().client()
    thread_id, _ = await begin_turn(first, "delay=3000 long")
    pid = fake.starts()[0]["pid"]
    os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(10):
        while not any("draining" in entry for entry in fake.log()):
            await asyncio.to_thread(os.sched_yield)
    pool = hub()
    second = await pool.client()
    with second.watch("t") as watch:
        with pytest.raises(AppServerUnavailable, match="draining") as caught:
            await second.resume(thread_id)
        assert caught.value.retryable
        with pytest.raises(AppServerUnavailable, match=r"exited unexpectedly \(ended\)"):
            await anext(watch)
    third = await pool.client()
    assert [turn.status for turn in await third.turns(thread_id)] == ["completed"]
    assert (await third.resume(thread_id)).status == "idle"


async def test_one_that_ends_while_it_is_greeted_is_replaced(
    hub: Open, fake: FakeCodex, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave(await hub().client())
    pid = fake.starts()[0]["pid"]
    initialize = CodexClient.initialize

    async def killed(client: CodexClient) -> None:
        if len(fake.starts()) == 1:
            os.kill(pid, signal.SIGKILL)
        await initialize(client)

    monkeypatch.setattr(CodexClient, "initialize", killed)
    assert (await hub().client()).version
    assert len(fake.starts()) == 2


async def test_other_settings_start_another_one_and_the_idle_old_one_is_ended(hub: Open, fake: FakeCodex) -> None:
    await leave(await hub().client())
    assert (await hub(codex_service_tier="flex").client()).version
    old, new = (start["pid"] for start in fake.starts())
    assert await gone(old, 10)
    assert not await gone(new, 0)


async def test_with_other_settings_a_turn_of_the_old_one_goes_on(hub: Open, fake: FakeCodex) -> None:
    first = await hub().client()
    await begin_turn(first, "delay=20000 long")
    await leave(first)
    pool = hub(codex_service_tier="flex")
    await pool.client()
    await pool.aclose()
    old, new = (start["pid"] for start in fake.starts())
    assert await gone(new, 5)
    assert not await gone(old, 0)


async def test_stale_sockets_of_others_are_removed_and_nothing_else(hub: Open, data_dir: Path) -> None:
    data_dir.mkdir()  # noqa: ASYNC240 - quick
    stale, plain = data_dir / "codex-00000000.sock", data_dir / "codex-11111111.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    plain.touch()
    pool = hub()
    await pool.client()
    await pool.aclose()
    assert sockets(data_dir) == [plain.name]


async def test_one_that_does_not_answer_at_the_end_is_left_alone_in_time(
    hub: Open, fake: FakeCodex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "LOOK_SEC", 0.2)
    pool = hub()
    await pool.client()
    fake.set(never_answer=["thread/loaded/list"])
    await pool.aclose()
    assert not await gone(fake.starts()[0]["pid"], 0)
    fake.set(never_answer=[])


async def test_one_that_refuses_to_end_is_killed(make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "TERM_WAIT_SEC", 0.05)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout
    await process.stdout.readline()
    await detached.end_process(process.pid)
    assert await process.wait() == -signal.SIGKILL


async def test_a_start_that_fails_tells_the_last_words_and_leaves_nothing(
    make_settings: MakeSettings, tmp_path: Path, data_dir: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho; echo '\033[31mno such luck\033[0m' >&2\nexit 7\n")
    broken.chmod(0o755)
    with pytest.raises(AppServerUnavailable, match=r"exited unexpectedly \(code 7\).*npm install") as caught:
        await launch.open_transport(make_settings(codex_command=str(broken)))
    assert caught.value.details["stderr"] == ["", "no such luck"]
    assert sockets(data_dir) == []


async def test_a_program_that_never_listens_is_ended(make_settings: MakeSettings, tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_text(f"#!/bin/sh\necho $$ > '{tmp_path / 'pid'}'\nexec sleep 60\n")
    silent.chmod(0o755)
    with pytest.raises(AppServerUnavailable, match="does not listen"):
        await launch.open_transport(make_settings(codex_command=str(silent), codex_request_timeout_ms=1000))
    assert await gone(int((tmp_path / "pid").read_text()), 5)


async def test_what_listens_there_and_is_no_app_server_is_unavailable(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    path = listening(settings)[1]

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(hang_up, path)
    with pytest.raises(AppServerUnavailable, match="no app-server answers at"):
        await launch.open_transport(settings)
    server.close()
    await server.wait_closed()


async def test_where_no_socket_can_be_had_it_ends_with_the_hub(
    hub: Open, fake: FakeCodex, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "bind", refuse)
        pool = hub()
        assert (await pool.client()).version
    assert sockets(data_dir) == []
    await pool.aclose()
    assert await gone(fake.starts()[0]["pid"], 5)


@pytest.mark.parametrize("debug", [True, False])
async def test_its_output_is_in_a_file_and_with_debug_on_standard_error(
    make_settings: MakeSettings, tmp_path: Path, capfd: pytest.CaptureFixture[str], fake: FakeCodex, debug: bool
) -> None:
    settings = make_settings(debug=debug)
    fake.command.write_text(fake.command.read_text().replace("exec ", "echo woe is me >&2\nexec "))
    pool = Pool(settings)
    await pool.client()
    await pool.aclose()
    assert settings.log_path.with_name(output.NAME).read_text() == "woe is me\n"
    assert capfd.readouterr().err == ("[thread-relay] woe is me\n" if debug else "")


async def test_a_log_that_has_grown_large_starts_anew(hub: Open, make_settings: MakeSettings) -> None:
    log = make_settings().log_path.with_name(output.NAME)
    log.parent.mkdir()
    log.write_bytes(b"x" * (output.MAX_BYTES + 1))
    await hub().client()
    assert log.stat().st_size < output.MAX_BYTES
