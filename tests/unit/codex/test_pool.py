import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.codex import pool as pool_module
from app.codex.pool import Pool
from app.errors import AppServerUnavailable
from app.settings import Settings
from tests.fakes.codex import FakeCodex

pytestmark = pytest.mark.anyio

MakeSettings = Callable[..., Settings]


async def test_nothing_runs_until_somebody_asks(make_settings: MakeSettings, fake: FakeCodex) -> None:
    pool = Pool(make_settings())
    await pool.aclose()
    assert fake.starts() == []


async def test_callers_that_come_together_share_one_start(make_settings: MakeSettings, fake: FakeCodex) -> None:
    pool = Pool(make_settings())
    clients = await asyncio.gather(*(pool.client(f"t{n}") for n in range(20)))
    assert len(set(clients)) == 1
    assert await pool.client() is clients[0]
    (start,) = fake.starts()
    assert start["home"] == str(make_settings().codex_home)
    await pool.aclose()


async def test_a_caller_that_leaves_does_not_end_the_start_of_the_others(make_settings: MakeSettings) -> None:
    pool = Pool(make_settings())
    first, second = (asyncio.create_task(pool.client()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).version
    await pool.aclose()


async def test_an_app_server_that_died_is_started_again_at_once(make_settings: MakeSettings, fake: FakeCodex) -> None:
    pool = Pool(make_settings())
    await kill(pool, fake)
    assert (await pool.client()).version
    assert len(fake.starts()) == 2
    await pool.aclose()


async def test_one_that_dies_early_again_and_again_gets_a_pause(make_settings: MakeSettings, fake: FakeCodex) -> None:
    pool = Pool(make_settings())
    await kill(pool, fake)
    await kill(pool, fake)
    with pytest.raises(AppServerUnavailable, match="signal SIGKILL"):
        await pool.client()
    assert len(fake.starts()) == 2
    await pool.aclose()


async def test_a_start_that_failed_is_not_tried_again_within_its_pause(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "FIRST_PAUSE_SEC", 0.2)
    tried = tmp_path / "tried"
    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\necho once >> '{tried}'\necho no such luck >&2\nexit 1\n")
    broken.chmod(0o755)
    pool = Pool(make_settings(codex_command=str(broken)))
    failures = []
    for _ in range(3):
        with pytest.raises(AppServerUnavailable) as caught:
            await pool.client()
        failures.append(caught.value)
    assert tried.read_text().split() == ["once"]
    assert {failure.message for failure in failures} == {failures[0].message}
    assert "exited unexpectedly (code 1)" in failures[0].message
    assert "codex_command" in failures[0].message
    assert failures[2].details["stderr"] == ["no such luck"]
    async with asyncio.timeout(5):
        while tried.read_text().split() == ["once"]:
            with pytest.raises(AppServerUnavailable):
                await pool.client()
    await pool.aclose()


@pytest.mark.parametrize("command", ["/nonexistent", "false"])
async def test_a_program_that_does_not_serve_is_unavailable(make_settings: MakeSettings, command: str) -> None:
    pool = Pool(make_settings(codex_command=command))
    with pytest.raises(AppServerUnavailable, match="Failed to start codex app-server: "):
        await pool.client()
    await pool.aclose()


async def test_a_handshake_without_an_answer_is_unavailable(make_settings: MakeSettings, fake: FakeCodex) -> None:
    fake.set(never_answer=["initialize"])
    pool = Pool(make_settings(codex_request_timeout_ms=500))
    with pytest.raises(AppServerUnavailable, match="Request timed out: initialize"):
        await pool.client()
    await pool.aclose()


async def test_a_close_during_a_start_ends_both(make_settings: MakeSettings, fake: FakeCodex) -> None:
    fake.set(never_answer=["initialize"])
    pool = Pool(make_settings())
    start = asyncio.create_task(pool.client())
    async with asyncio.timeout(10):
        while not fake.received("initialize"):
            await asyncio.to_thread(os.sched_yield)
        began = time.monotonic()
        await pool.aclose()
    assert time.monotonic() - began < 5
    with pytest.raises(AppServerUnavailable, match="already closed"):
        await start


async def test_a_closed_pool_starts_nothing(make_settings: MakeSettings) -> None:
    pool = Pool(make_settings())
    await pool.aclose()
    with pytest.raises(AppServerUnavailable, match="already closed"):
        await pool.client()


async def kill(pool: Pool, fake: FakeCodex) -> None:
    """Kill the app-server of the pool, and wait until its client knows."""
    client = await pool.client()
    with client.watch("t") as watch:
        os.kill(fake.starts()[-1]["pid"], signal.SIGKILL)
        async with asyncio.timeout(5):
            with pytest.raises(AppServerUnavailable):
                await anext(watch)
