"""The command behind `scripts/bench`: runs what was asked for and shows each figure as soon as it is there."""

import argparse
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import dispatches, fetch, figures, idle, live, mcp_calls, posts, start
from tests.benchmarks.bench import FULL, QUICK, TINY, Bench
from tests.benchmarks.figures import Figure

BENCHMARKS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "posts": posts.run,
    "mcp": mcp_calls.run,
    "fetch": fetch.run,
    "live": live.run,
    "idle": idle.run,
    "start": start.run,
    "dispatches": dispatches.run,
}
FILES = 8192
"""Descriptors that a thousand watchers and the hub with them may need, with room."""


def main() -> int:
    """0 when everything could be measured, whatever came of it."""
    arguments = _arguments()
    # As Ctrl+C: servers are then ended, which SIGTERM alone would orphan.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(FILES, hard)), hard))
    measured: dict[str, list[Figure]] = {}
    failures: dict[str, str] = {}
    began, ticks = time.monotonic(), _ticks()
    print(figures.heading(), flush=True)
    with Bench(arguments.scale) as bench:
        for name in arguments.benchmarks or BENCHMARKS:
            print(f"\n{name}", flush=True)
            measured[name] = []
            try:
                for figure in BENCHMARKS[name](bench):
                    measured[name].append(figure)
                    print(figures.row(figure), flush=True)
            # One that cannot be measured, or whose program is not installed, does not take the others with it.
            except (Exception, pytest.skip.Exception) as problem:
                failures[name] = str(problem) or repr(problem)
                print(f"not measured: {failures[name]}", flush=True)
    machine = _machine(ticks) | {"seconds": round(time.monotonic() - began)}
    print("\n" + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items()))
    if arguments.json:
        figures.write_json(arguments.json, measured, failures, machine)
    return 1 if failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure the hub against its targets; see docs/benchmarks.md."
    )
    parser.add_argument(
        "benchmarks", nargs="*", metavar="NAME", help=f"some of: {', '.join(BENCHMARKS)} (default: all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="scale", action="store_const", const=QUICK, help="shorter, and noisier")
    size.add_argument(
        "--tiny",
        dest="scale",
        action="store_const",
        const=TINY,
        help="only shows that everything runs; no figure counts",
    )
    parser.set_defaults(scale=FULL)
    arguments = parser.parse_args()
    if unknown := set(arguments.benchmarks) - set(BENCHMARKS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    return arguments


def _ticks() -> list[int]:
    """Processor time of the machine by kind; the eighth is what other machines took."""
    return [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]


def _machine(ticks_before: list[int]) -> dict[str, Any]:
    spent = [now - before for now, before in zip(_ticks(), ticks_before, strict=True)]
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor_time_stolen_percent": round(100 * spent[7] / max(1, sum(spent))),
        "processor_time_idle_percent": round(100 * spent[3] / max(1, sum(spent))),
    }


if __name__ == "__main__":
    sys.exit(main())
