"""The official conformance suite of MCP, asking a server for what one revision of the protocol requires."""

import json
import re
from pathlib import Path
from typing import Any

from tests.support.processes import Finished, base_environ, run

REVISIONS = ("2025-11-25", "2026-07-28")
BAD = ("FAILURE", "WARNING")


class Report:
    """What came of one run."""

    def __init__(self, finished: Finished, folder: Path) -> None:
        self.code = finished.returncode
        self.text = finished.stdout + finished.stderr
        not_scored = re.search(r"Not scored for \S+: (\d+) scenario", finished.stdout)
        self.not_scored = int(not_scored[1]) if not_scored else 0
        self.checks: dict[str, list[dict[str, Any]]] = {}
        """Checks by scenario."""
        for path in folder.glob("server-*/checks.json"):
            name = re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", path.parent.name.removeprefix("server-"))
            self.checks[name] = json.loads(path.read_text("utf-8"))

    @property
    def required(self) -> int:
        """How many scenarios the revision requires."""
        return len(self.checks) - self.not_scored

    @property
    def failed(self) -> set[str]:
        """Scenarios, required or not, that did not pass."""
        return {name for name, checks in self.checks.items() if any(check["status"] in BAD for check in checks)}


class Conformance:
    """The suite. It needs a newer Node than many machines have, so that comes along."""

    def __init__(self, folder: Path, node: Path, suite: Path) -> None:
        self._folder = folder
        self._command = [node, suite.resolve(), "server"]

    def run(self, url: str, revision: str, *options: str | Path, timeout: float = 100) -> Report:
        output = self._folder / revision
        command = [*self._command, "--url", f"{url}/mcp", "--requirements", revision, "-o", output, *options]
        finished = run(command, cwd=self._folder, environ=base_environ(self._folder), timeout=timeout)
        return Report(finished, output)
