"""The command behind `scripts/chaos`: dispatches arrive while hub and app-server are killed; then everything must be
true."""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.model import FakeModel
from tests.live.findings import Blow, Finding, Scene, findings
from tests.live.load import SECRET, Load, Receiver
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.parts import find_program
from tests.support.postgres import running_postgres
from tests.support.processes import end_relatives, wait_until

LEASE_SEC = 3
SETTLE_SEC = 180
BLOWS = {"kill hub": 4, "kill app-server": 4, "kill both": 1, "stop hub": 2}
"""What happens at random moments, and how often compared with the others."""

ERRORS = re.compile(r" ERROR (\S+: .{,80})")
"""What a hub has to complain of; no violation, but worth a look."""


@dataclass
class Report:
    """What happened, and what should not have."""

    seed: int
    orders: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    kept: Path | None = None
    """The folder of the run; only where there is something to look into."""

    def __str__(self) -> str:
        lines = [f"seed {self.seed}", f"{self.orders:6} dispatches were asked for"]
        lines += [f"{count:6} {what}" for what, count in sorted(self.counts.items())]
        lines += [f"{len(self.findings):6} violations", *(str(each) for each in self.findings)]
        lines += [f"Logs and data are in {self.kept}."] if self.kept else []
        return "\n".join(lines)


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long dispatches arrive (600)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="repeats the choices of another run")
    parser.add_argument("--hubs", type=int, default=1, help="2: two hubs on one PostgreSQL")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = run(arguments.seconds, arguments.seed, arguments.hubs)
    print(report)
    return 1 if report.findings else 0


def run(seconds: float, seed: int, hubs: int = 1) -> Report:
    """One chaos run. What it leaves behind is gone afterwards, except for the folder of a run with findings."""
    report = Report(seed)
    # A short path: a unix socket's name must fit into 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    chance = random.Random(seed)
    with FakeModel() as model, Receiver(random.Random(seed)) as receiver, _database(hubs) as database:
        home = CodexHome(folder, find_program("codex"), model.url)
        settings: dict[str, Any] = {
            **home.settings,
            **database,
            "lease_sec": LEASE_SEC,
            "webhook_secret": SECRET,
            "webhook_allow_private": True,
        }
        made = Hubs()
        running = [made.prepare(folder=folder / f"hub{n}", **settings) for n in range(hubs)]
        try:
            load = Load([hub.start() for hub in running], home.project, receiver.url, seed)
            load.start()
            blows = _strike(running, seconds, chance, report)
            load.stop()
            _settle(running, report)
            report.orders = len(load.orders)
            scene = Scene(load, receiver, model, home, running, database, blows)
            report.findings += findings(scene, report.counts)
            report.counts.update(f"times logged: {error}" for hub in running for error in ERRORS.findall(hub.log))
        except AssertionError as problem:
            report.findings.append(Finding("", str(problem)))
        finally:
            for hub in running:
                (hub.folder.parent / "output.log").write_text(hub.log, "utf-8")
                if hub.is_running:
                    hub.kill()
                end_relatives(hub.run)
    if report.findings:
        report.kept = folder
    else:
        shutil.rmtree(folder)
    return report


@contextlib.contextmanager
def _database(hubs: int) -> Iterator[dict[str, str]]:
    """The settings of the hubs' database."""
    if hubs == 1:
        yield {}
        return
    with running_postgres() as server, server.database() as url:
        yield {"database_url": url}


def _strike(hubs: Sequence[HubProcess], seconds: float, chance: random.Random, report: Report) -> list[Blow]:
    """Kill at random moments, for so long; then all hubs run."""
    blows: list[Blow] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        threading.Event().wait(chance.uniform(0.5, 6))
        hub = chance.choice(hubs)
        (blow,) = chance.choices(list(BLOWS), list(BLOWS.values()))
        report.counts[f"times: {blow}"] += 1
        blows.append(Blow(time.time(), on_codex=blow in ("kill app-server", "kill both")))
        if blows[-1].on_codex:
            _kill_app_servers(hub)
        if blow in ("kill hub", "kill both"):
            hub.kill()
        if blow == "stop hub":
            hub.stop(codex_works=True)
        if not hub.is_running:
            threading.Event().wait(chance.choice([0, 0, 1, 3]))
            hub.start()
    return blows


def _kill_app_servers(hub: HubProcess) -> None:
    for pid, command in hub.children.items():
        if "app-server" in command:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _settle(hubs: Sequence[HubProcess], report: Report) -> None:
    """Wait until nothing is left to be done; what does not come to its end is a finding, later."""

    def is_quiet() -> bool:
        page = hubs[0].client.get("/api/dispatches?limit=200").json()
        rows = page["dispatches"]
        while page["nextCursor"]:
            page = hubs[0].client.get(f"/api/dispatches?limit=200&cursor={page['nextCursor']}").json()
            rows += page["dispatches"]
        return not any(
            row["dispatchStatus"] in ("queued", "running", "timed_out") or row["callbackStatus"] == "pending"
            for row in rows
        )

    began = time.monotonic()
    with contextlib.suppress(AssertionError):
        wait_until(is_quiet, "the dispatches did not end", timeout=SETTLE_SEC)
    report.counts["seconds until everything had settled"] = round(time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
