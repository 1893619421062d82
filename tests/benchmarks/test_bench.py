"""The bench itself: it runs, gives its figures, and leaves nothing behind. What the figures are is not tested here."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.parts import CHECKOUT, find_program
from tests.support.processes import base_environ, relatives, run

FIGURES = {"posts": 7, "mcp": 8, "fetch": 3, "live": 3, "idle": 2, "start": 6, "dispatches": 10}


@pytest.mark.browser
@pytest.mark.timeout(300)
def test_every_benchmark_gives_its_figures_and_leaves_nothing_behind(tmp_path: Path, short_path: Path) -> None:
    find_program("chromium", "chromium-browser", "google-chrome")
    report = tmp_path / "report.json"
    # Whatever the bench starts inherits the folder's name, so it can be found.
    environ = base_environ(tmp_path) | {"TMPDIR": str(short_path)}
    command = [sys.executable, "-m", "tests.benchmarks", "--tiny", "--json", report]

    ended = run(command, cwd=CHECKOUT, environ=environ, timeout=280)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(report.read_text("utf-8"))
    assert told["failures"] == {}
    assert {name: len(figures) for name, figures in told["figures"].items()} == FIGURES
    assert relatives(str(short_path)) == {}
    assert list(short_path.iterdir()) == []
