"""Where smoke and soak run: a hub of their own with the fake model, or one that runs, with whatever model it has."""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.codex import program
from tests.fakes.model import FakeModel
from tests.support.app_server_client import AppServerClient
from tests.support.codex import CodexHome
from tests.support.hub import Hubs
from tests.support.mcp import Agent
from tests.support.mcp import agent as connected
from tests.support.parts import find_program
from tests.support.processes import wait_until


class UnexpectedEnd(AssertionError):
    """A dispatch ended otherwise than with its reply."""


@dataclass(frozen=True)
class UsersCodex:
    """The user's own Codex, as far as AppServerClient needs it."""

    native: str
    project: Path
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """A hub, a trusted project of its, and a second Codex on the same home."""

    url: str
    project: str
    codex: Any
    has_fake_model: bool

    def message(self, label: str, busy_sec: int = 0) -> str:
        """A request that any model answers with the label, the fake one too; after some time, if wanted."""
        first = f'First run "sleep {busy_sec}" in the shell and wait for it. ' if busy_sec else ""
        directives = f" [[slow {busy_sec}]] [[reply {label}]]" if self.has_fake_model else ""
        return f'{first}Reply with exactly "{label}" and nothing else.{directives}'

    @contextmanager
    def held(self, thread_id: str) -> Iterator[None]:
        """The thread is open in a second Codex meanwhile, as in a user's own window."""
        with AppServerClient(self.codex) as other:

            def holds_it() -> bool:
                # The hub's own Codex may be about to let it go.
                with contextlib.suppress(AssertionError):
                    return bool(other.request("thread/resume", threadId=thread_id, excludeTurns=True))
                return False

            wait_until(holds_it, f"thread {thread_id} could not be opened in a second Codex", timeout=30)
            yield


@dataclass(frozen=True)
class Relay:
    """The hub's tools, as smoke and soak use them."""

    place: Place
    agent: Agent

    async def thread(self, name: str) -> str:
        made = await self.agent.call("relay_create_thread", projectId=self.place.project, name=name)
        return str(made["threadId"])

    async def hand_in(self, label: str, **more: Any) -> dict[str, Any]:
        """The receipt of an asynchronous dispatch."""
        return await self.agent.call(
            "relay_dispatch_async", projectId=self.place.project, message=self.place.message(label), **more
        )

    async def when(self, dispatch_id: str, limit_sec: float, **wanted: str) -> dict[str, Any]:
        """The dispatch once its fields have these values.

        Raises:
            UnexpectedEnd: it came to another end, or to none within the limit.
        """
        deadline = time.monotonic() + limit_sec
        while True:
            status = await self.agent.call("relay_dispatch_status", dispatchId=dispatch_id)
            if all(status[key] == value for key, value in wanted.items()):
                return status
            if status["dispatchStatus"] in ("failed", "timed_out", "cancelled") or time.monotonic() > deadline:
                raise UnexpectedEnd(f"dispatch {dispatch_id} did not come to {wanted} within {limit_sec} s: {status}")
            await asyncio.sleep(0.1 if self.place.has_fake_model else 2)


def expect(reply: str, label: str) -> None:
    """Fail where the reply is not the label; models may write it in capitals."""
    assert reply.strip().lower() == label.lower(), f"the reply is {reply!r}, not {label!r}"


def main(name: str, about: str, variable: str, work: Callable[[Relay], Awaitable[None]]) -> int:
    """Run `work` at the place that the command line names; 0 when it went well. `variable` may name the project."""
    parser = argparse.ArgumentParser(prog=f"scripts/{name}", description=about)
    parser.add_argument("--url", help="a hub that runs, with its own model, as http://127.0.0.1:8010")
    arguments = parser.parse_args()
    # As Ctrl+C: what was started is then ended, which SIGTERM alone would orphan.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    async def run() -> None:
        project = os.environ.get(variable) or str(Path.cwd())
        async with _running(arguments.url, project) if arguments.url else _own() as place, connected(place) as agent:  # type: ignore[arg-type]
            await work(Relay(place, agent))

    try:
        asyncio.run(run())
    except (AssertionError, pytest.skip.Exception, pytest.fail.Exception) as problem:
        print(f"relay {name} failed: {problem}", file=sys.stderr)
        return 1
    return 0


@asynccontextmanager
async def _own() -> AsyncIterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="live-"))
    hubs = Hubs()
    try:
        with FakeModel() as model:
            home = CodexHome(folder, find_program("codex"), model.url)
            try:
                yield Place(hubs(**home.settings).url, str(home.project), home, has_fake_model=True)
            finally:
                with contextlib.redirect_stdout(None):
                    hubs.end()
    finally:
        shutil.rmtree(folder)


@asynccontextmanager
async def _running(url: str, project: str) -> AsyncIterator[Place]:
    command = shutil.which("codex")
    assert command, program.INSTALL_HINT
    yield Place(url.rstrip("/"), project, UsersCodex(command, Path(project), dict(os.environ)), has_fake_model=False)
