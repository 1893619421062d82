"""The threads of the scripted app-server: what can be read of them, by whom, and their names."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.codex import KNOBS, load, shared


class Refusal(Exception):
    def __init__(self, message: str, code: int = -32600) -> None:
        super().__init__(message)
        self.code = code


class Threads:
    """The answers to what asks about threads and changes no more than their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reads = 0
        self.active: dict[str, dict[str, Any]] = {}  # thread id -> its running turn

    def on_config_read(self, _params: dict[str, Any], _: Any) -> dict[str, Any]:
        projects = {path: {"trust_level": level} for level in ("trusted", "untrusted") for path in self.knob(level)}
        return {"config": {"projects": projects}, "origins": {}}

    def on_thread_list(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        with shared(self.folder) as threads:
            rows = [
                self.view(thread)
                for thread in reversed(threads.values())
                if thread["preview"] and params.get("cwd") in (None, thread["cwd"])
            ]
        if self.knob("hidden") or params.get("archived"):
            rows = []
        start, size = int(params.get("cursor") or 0), self.knob("page_size")
        more = str(start + size) if start + size < len(rows) else None
        return {"data": rows[start : start + size], "nextCursor": more}

    def on_thread_read(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        self.reads += 1
        with self.thread(params, "thread not loaded: {}") as thread:
            if self.reads <= self.knob("missing_reads"):
                raise Refusal(f"thread not loaded: {thread['id']}")
            turns = [self.as_seen(turn, thread) for turn in thread["turns"]]
            shown = {"turns": turns} if params.get("includeTurns") else {}
            return {"thread": {**self.view(thread), **shown}}

    def on_thread_turns_list(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        with self.thread(params, "thread not loaded: {}") as thread:
            turns = [self.as_seen(turn, thread) for turn in reversed(thread["turns"])]
        return {"data": turns[: params.get("limit") or 25], "nextCursor": None}

    def on_thread_loaded_list(self, _params: dict[str, Any], _: Any) -> dict[str, Any]:
        with shared(self.folder) as threads:
            return {"data": [each["id"] for each in threads.values() if each["owner"] == os.getpid()]}

    def on_thread_name_set(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        if self.knob("refuse_rename"):
            raise Refusal("the name is taken")
        with self.thread(params, "no rollout found for thread id {}") as thread:
            thread["name"] = params["name"]
            thread["stored"] = True
        return {}

    def view(self, thread: dict[str, Any]) -> dict[str, Any]:
        loaded = "active" if thread["id"] in self.active else "idle"
        status = loaded if thread["owner"] == os.getpid() else "notLoaded"
        shown = {key: thread[key] for key in ("id", "name", "preview", "cwd")}
        times = {key: thread[key] for key in ("createdAt", "updatedAt")}
        return {**shown, **times, "status": {"type": self.knob("status") or status}, "turns": []}

    def as_seen(self, turn: dict[str, Any], thread: dict[str, Any]) -> dict[str, Any]:
        """A turn that runs elsewhere, or ran in a process that died, reads as interrupted."""
        foreign = thread["owner"] != os.getpid() or thread["id"] not in self.active
        cut = turn["status"] == "inProgress" and foreign
        return {**turn, "status": "interrupted"} if cut else turn

    @contextlib.contextmanager
    def thread(self, params: dict[str, Any], absent: str) -> Iterator[dict[str, Any]]:
        with shared(self.folder) as threads:
            if params["threadId"] not in threads:
                raise Refusal(absent.format(params["threadId"]))
            yield threads[params["threadId"]]

    def knob(self, name: str) -> Any:
        return load(self.folder / "knobs.json", KNOBS)[name]
