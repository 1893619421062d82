"""A hub on a scripted Codex that many tests share: each of them takes a project and threads of its own."""

import itertools
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.fakes.codex import FakeCodex, new_thread, shared
from tests.support.hub import HubProcess, Hubs

LEVELS = (("trusted", True), ("untrusted", False))


class Relay:
    """The hub, its Codex, and what a test does behind the backs of both."""

    def __init__(self, hubs: Hubs, folder: Path, **settings: Any) -> None:
        self.codex = FakeCodex(folder)
        self.hub: HubProcess = hubs(codex_command=self.codex.command, **settings)
        self._trust: dict[str, bool] = {}
        self._numbers = itertools.count()

    def project(self, path: str = "", *, trusted: bool = True) -> str:
        """A folder that no other test uses; Codex is told whether to trust it."""
        path = path or f"/srv/p{next(self._numbers)}"
        self._trust[path] = trusted
        known = {name: [each for each, is_so in self._trust.items() if is_so is value] for name, value in LEVELS}
        self.codex.set(**known)
        return path

    def threads(self, project: str, *names: str) -> list[str]:
        """Threads of these names that have been used already, newest last."""
        with shared(self.codex.folder) as threads:
            fresh = [new_thread(project, name, preview="before") for name in names]
            threads.update({thread["id"]: thread for thread in fresh})
        return [thread["id"] for thread in fresh]

    def place(self, *names: str) -> tuple[str, ...]:
        """A new project and threads of these names in it."""
        project = self.project()
        return project, *self.threads(project, *names)

    def hold(self, thread_id: str) -> None:
        """Open a thread in another Codex."""
        self._own(thread_id, os.getpid())

    def free(self, thread_id: str) -> None:
        """Close it there."""
        self._own(thread_id, None)

    def sent(self, thread_id: str) -> list[str]:
        """The texts of the turns that were started in a thread."""
        asked = (frame["params"] for frame in self.codex.received("turn/start"))
        return [params["input"][0]["text"] for params in asked if params["threadId"] == thread_id]

    def accept(self, project: str, thread_id: str, message: str, **more: Any) -> str:
        receipt = self.hub.accept(projectId=project, threadId=thread_id, message=message, **more)
        return str(receipt["dispatchId"])

    def done(self, project: str, thread_id: str, message: str, **more: Any) -> str:
        """A dispatch that has ended."""
        dispatch_id = self.accept(project, thread_id, message, **more)
        self.hub.dispatch_when(dispatch_id)
        return dispatch_id

    def put(self, dispatch_id: str, **columns: Any) -> None:
        """Write into the database what a hub that was killed might have left there."""
        path = self.hub.dispatch(dispatch_id)["statePath"]
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        with closing(sqlite3.connect(path, timeout=10)) as database, database:
            database.execute(f"UPDATE dispatch SET {assignments} WHERE id = :id", columns | {"id": dispatch_id})

    def _own(self, thread_id: str, pid: int | None) -> None:
        with shared(self.codex.folder) as threads:
            threads[thread_id]["owner"] = pid
