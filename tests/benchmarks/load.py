"""Putting load on a server, and what came of it."""

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from tests.benchmarks.figures import Figure, compared
from tests.benchmarks.generator import PATIENCE_SEC, Load, Plan
from tests.support.hub import HubProcess
from tests.support.parts import CHECKOUT
from tests.support.processes import base_environ, run


@dataclass(frozen=True)
class Rounds:
    """Load on the hub and on what it is held against, in turns."""

    loads: Sequence[tuple[Load, Load]]

    def rate(self, name: str, at_least: float | None = None) -> Figure:
        pairs = self._pairs(lambda load: load.rate)
        return compared(name, "/s", pairs, at_least=at_least, note=self._processor_time())

    def p99(self, name: str, at_most: float | None = None) -> Figure:
        return compared(f"{name}, p99", "ms", self._pairs(lambda load: load.p99_ms), at_most=at_most)

    def cost(self, name: str, at_most: float) -> Figure:
        """The time between two answers under load."""
        pairs = self._pairs(lambda load: 1000 / load.rate)
        return compared(name, "ms", pairs, at_most=at_most, note=self._processor_time())

    def _pairs(self, value: Callable[[Load], float]) -> list[tuple[float, float]]:
        return [(value(hub), value(against)) for hub, against in self.loads]

    def _processor_time(self) -> str:
        """It says more than the rate where a machine is not idle."""
        hub, against = map(statistics.median, zip(*self._pairs(lambda load: load.cpu_us), strict=True))
        return f"server's processor time per request: {hub:.0f} µs, against {against:.0f} µs"


def run_load(server: HubProcess, plan: Plan) -> Load:
    """Put load on a server.

    Raises:
        AssertionError: an answer was an error, or the generator did not end in time.
    """
    result = run(
        [sys.executable, "-m", "tests.benchmarks.generator", str(server.port), str(server.pid)],
        cwd=CHECKOUT,
        environ=base_environ(server.folder),
        stdin=json.dumps(asdict(plan)),
        timeout=2 * plan.seconds + 2 * PATIENCE_SEC,
    )
    assert result.returncode == 0, result.stderr.strip().rpartition("\n")[2]
    return Load(**json.loads(result.stdout))
