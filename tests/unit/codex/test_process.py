import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.codex import process as process_module
from app.codex.jsonrpc import ConnectionClosed
from app.codex.process import AppServerProcess
from app.errors import AppServerUnavailable
from app.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")]

STUBBORN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
print(f'{{"pids": [{os.getpid()}, {child.pid}]}}', flush=True)
signal.pause()
"""
CHATTY = """
import sys
sys.stdin.read()
for _ in range(64):
    print("x" * 65536, flush=True)
print("the last word", flush=True)
"""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the hub runs on uvloop where it is installed, and has children of its own making."""
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


Spawn = Callable[..., Awaitable[AppServerProcess]]


@pytest.fixture
def spawn(make_settings: Callable[..., Settings]) -> Spawn:
    """Starts a Python source as if it were the app-server."""

    async def spawn(source: str, **values: Any) -> AppServerProcess:
        return await AppServerProcess.spawn(
            make_settings(codex_command=sys.executable, codex_args=("-c", source), **values)
        )

    return spawn


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie whose parent died waits for init; it holds nothing.
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


async def gone(*pids: int) -> bool:
    """Whether the processes end; SIGKILL is asynchronous."""
    async with asyncio.timeout(5):
        while any(alive(pid) for pid in pids):
            await asyncio.to_thread(os.sched_yield)
    return True


async def test_lines_go_both_ways_whatever_their_length(spawn: Spawn) -> None:
    process = await spawn("import sys\nfor line in sys.stdin: print(line.upper(), flush=True)")
    for text in ("hello", "é" * 200_000):
        await process.send(text)
        assert await process.receive() == text.upper() + "\n"
    await process.aclose()


async def test_a_program_that_refuses_to_stop_is_killed_with_its_children(
    spawn: Spawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "CLOSE_WAIT_SEC", 0.05)
    monkeypatch.setattr(process_module, "TERM_WAIT_SEC", 0.05)
    process = await spawn(STUBBORN)
    pids = [int(word) for word in (await process.receive()).split("[")[1].split("]")[0].split(",")]
    async with asyncio.timeout(10):
        await process.aclose()
    assert await gone(*pids)


async def test_a_child_that_outlives_the_program_does_not_outlive_the_stop(spawn: Spawn) -> None:
    process = await spawn(STUBBORN.replace("signal.pause()\n", "sys.exit(0)\n"))
    child = int((await process.receive()).split(",")[1].strip(" ]}\n"))
    await process.aclose()
    assert await gone(child)


async def test_a_stop_whose_caller_is_cancelled_goes_on(spawn: Spawn) -> None:
    process = await spawn("import sys; sys.stdin.read()")
    stop = asyncio.create_task(process.aclose())
    await asyncio.sleep(0)
    stop.cancel()
    await asyncio.wait([stop])
    await process.aclose()
    assert await gone(process.pid)


async def test_output_is_drained_while_stopping(spawn: Spawn) -> None:
    process = await spawn(CHATTY)

    async def read_all() -> list[str]:
        lines = []
        try:
            while True:
                lines.append(await process.receive())
        except ConnectionClosed as error:
            return [*lines, str(error)]

    reader = asyncio.create_task(read_all())
    await process.aclose()
    assert (await reader)[-2:] == ["the last word\n", "codex app-server session closed"]


@pytest.mark.parametrize(
    ("source", "how"), [("raise SystemExit(7)", "code 7"), ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL")]
)
async def test_an_exit_tells_its_code_or_signal(spawn: Spawn, source: str, how: str) -> None:
    process = await spawn(source)
    with pytest.raises(ConnectionClosed, match=rf"^codex app-server exited unexpectedly \({how}\)$"):
        await process.receive()
    with pytest.raises(ConnectionClosed, match=how):
        await process.send("x" * 1_000_000)
    await process.aclose()


async def test_standard_error_goes_to_the_log_and_with_debug_to_ours(
    spawn: Spawn, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "relay_hub.codex")
    process = await spawn("import sys; sys.stderr.write('\\x1b[31mwoe\\x1b[0m is me\\n')", debug=True)
    with pytest.raises(ConnectionClosed):
        await process.receive()
    await process.aclose()
    assert "codex app-server: woe is me" in caplog.messages
    assert capsys.readouterr().err == "[thread-relay] woe is me\n"


async def test_the_child_gets_its_home_and_not_the_settings_of_the_hub(
    spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_HUB_DATABASE_URL", "postgresql://me:secret@db/hub")
    process = await spawn("import os; print(os.environ['CODEX_HOME'], *sorted(os.environ))")
    said = await process.receive()
    assert said.startswith(str(tmp_path / "home"))
    assert "RELAY_HUB" not in said
    assert (tmp_path / "home").is_dir()
    await process.aclose()


async def test_a_program_that_cannot_run_is_unavailable(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/nonexistent/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(AppServerUnavailable, match=r"Failed to start codex app-server: .*npm install"):
        await AppServerProcess.spawn(make_settings(codex_command=str(broken)))
