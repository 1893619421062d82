"""The test's side of the scripted app-server (`tests.fakes.app_server`).

    fake = FakeCodex(tmp_path / "codex", trusted=["/srv/p"])
    settings = Settings(codex_command=str(fake.command), codex_home=tmp_path / "home", …)

Several processes of one FakeCodex share its threads, as several Codexes share a Codex home.
Knobs may change at any time: `fake.set(refuse_rename=True)`.
"""

import contextlib
import fcntl
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

KNOBS: dict[str, Any] = {
    "version": "0.169.0",
    "trusted": [],  # paths
    "untrusted": [],  # paths
    "page_size": 100,
    "status": None,  # of every thread that is read or listed
    "hidden": False,  # thread/list is empty
    "missing_reads": 0,  # the first n thread/read of this process fail
    "refuse_rename": False,
    "active_writer": False,  # thread/resume is refused
    "never_answer": [],  # methods
    "approval_id": None,  # of the server's questions; None: numbers; "pending": that of turn/start, still unanswered
    "resolve_ms": 0,  # after which the server takes its question back; 0: never
    "late_start_ms": 0,  # between the answer to turn/start and turn/started
    "early_events": False,  # the turn's notifications precede the answer to turn/start
}


class FakeCodex:
    """The test's side: a command to run, knobs to set, and what was said."""

    def __init__(self, folder: Path, **knobs: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.command = folder / "codex"
        self.command.write_text(
            f"#!/bin/sh\nexport FAKE_CODEX='{folder}' PYTHONPATH='{ROOT}'\n"
            f"exec '{sys.executable}' -m tests.fakes.app_server \"$@\"\n"
        )
        self.command.chmod(0o755)
        self.set(**knobs)

    def set(self, **knobs: Any) -> None:
        assert knobs.keys() <= KNOBS.keys(), knobs
        path = self.folder / "knobs.json"
        write(path, {**load(path, KNOBS), **knobs})

    def add_threads(self, count: int, cwd: str) -> list[str]:
        """Threads that have been used already, newest last."""
        with shared(self.folder) as threads:
            fresh = [new_thread(cwd, name=f"thread {n}", preview="before") for n in range(count)]
            threads.update({thread["id"]: thread for thread in fresh})
        return [thread["id"] for thread in fresh]

    def log(self) -> list[dict[str, Any]]:
        """Every start {"argv", "home", "pid"} and every frame {"in" | "out": message, "pid"}."""
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def starts(self) -> list[dict[str, Any]]:
        return [entry for entry in self.log() if "argv" in entry]

    def received(self, method: str | None = None) -> list[dict[str, Any]]:
        """Requests and notifications that arrived, or those of one method."""
        frames = [entry["in"] for entry in self.log() if "in" in entry]
        return [f for f in frames if "method" in f and method in (None, f["method"])]


@contextlib.contextmanager
def shared(folder: Path) -> Iterator[dict[str, Any]]:
    """All threads, locked against other processes and threads; changes are stored at the end."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threads: dict[str, Any] = load(folder / "threads.json", {})
        before = json.dumps(threads)
        yield threads
        if json.dumps(threads) != before:
            write(folder / "threads.json", threads)


def new_thread(cwd: str, name: str | None = None, preview: str = "") -> dict[str, Any]:
    now = time.time()
    thread: dict[str, Any] = {"id": str(uuid.uuid4()), "cwd": cwd, "name": name, "preview": preview, "turns": []}
    return thread | {"createdAt": now, "updatedAt": now, "owner": None, "stored": bool(preview)}


def replies(mode: str, text: str) -> list[tuple[str | None, str]]:
    reply = f"echo: {text}"
    if mode == "commentary":
        return [("final_answer", "draft"), ("final_answer", reply), ("commentary", "done now")]
    return [(None if mode == "nophase" else "final_answer", reply)]


def directive(text: str, name: str, default: str) -> str:
    found = re.search(rf"\b{name}=(\w+)", text)
    return found[1] if found else default


def alive(pid: int | None) -> bool:
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def load(path: Path, default: dict[str, Any]) -> dict[str, Any]:
    return {**default, **json.loads(path.read_text())} if path.exists() else dict(default)


def write(path: Path, value: dict[str, Any]) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    fresh.write_text(json.dumps(value))
    fresh.replace(path)
