"""`scripts/smoke` and `scripts/soak` on the real Codex with the fake model, and on a hub that runs already."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.codex import CodexHome
from tests.support.hub import Hubs
from tests.support.parts import CHECKOUT
from tests.support.processes import Finished, run

SECONDS = 240


def script(name: str, *arguments: str, cwd: Path = CHECKOUT, environ: Mapping[str, str] | None = None) -> Finished:
    variables = {**os.environ, **(environ or {})}
    return run([CHECKOUT / "scripts" / name, *arguments], cwd=cwd, environ=variables, timeout=SECONDS)


@pytest.mark.codex
@pytest.mark.timeout(300)
def test_smoke_passes_and_shows_the_markers(tmp_path: Path) -> None:
    done = script("smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *steps, last = done.stdout.splitlines()
    assert last == "relay smoke passed"
    assert [step.removeprefix("ok: ") for step in steps if "MARKER" in step] == [
        "RELAY_TEST_MARKER=FRONTEND_RELAY_READONLY_OK",
        "RELAY_FOLLOWUP_MARKER=POST_RECOVERY_THREAD_FREE_OK",
        "RELAY_DIRECT_SYNC_MARKER=OK",
        "RELAY_RECOVER_PATH_MARKER=OK",
    ]


@pytest.mark.codex
@pytest.mark.timeout(300)
def test_soak_passes_and_counts_its_batches() -> None:
    # Few, but the third batch is the one whose callbacks have to wait.
    done = script("soak", environ={"THREAD_RELAY_SOAK_ITERATIONS": "4", "THREAD_RELAY_SOAK_CONCURRENCY": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *(f"[batch {n}/4] 1 dispatch(es) settled" for n in range(1, 5)),
        "relay soak passed (4 iterations, concurrency=1)",
    ]


def test_soak_names_a_setting_that_is_no_number() -> None:
    done = script("soak", environ={"THREAD_RELAY_SOAK_ITERATIONS": "many"})
    assert done.returncode == 1
    assert "THREAD_RELAY_SOAK_ITERATIONS must be a whole number, not 'many'" in done.stderr


def test_a_hub_that_runs_is_used_with_its_own_model(hub: Hubs, codex_home: CodexHome) -> None:
    running = hub(**codex_home.settings)
    environ = {
        **codex_home.environ,
        "PATH": f"{codex_home.command.parent}{os.pathsep}{os.environ['PATH']}",
        "THREAD_RELAY_SOAK_ITERATIONS": "1",
        "THREAD_RELAY_SOAK_CONCURRENCY": "9",
    }
    # This model echoes the whole prompt instead of doing what it says, so the first batch has the wrong reply.
    done = script("soak", "--url", running.url, cwd=codex_home.project, environ=environ)
    assert done.returncode == 1
    assert "the reply is 'echo: Reply with exactly \"relay soak ok 1\" and nothing else.'" in done.stderr
    projects = {row["projectId"] for row in running.client.get("/api/dispatches").json()["dispatches"]}
    assert projects == {str(codex_home.project)}
