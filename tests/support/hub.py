"""A real hub in a process of its own, as a user runs it."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.parts import CHECKOUT
from tests.support.processes import RUN_MARKER, base_environ, end_relatives, relatives, wait_until

LISTENING = re.compile(r"Relay Hub is listening on (http://\S+?:(\d+))")
START_SECONDS = 60
STOP_SECONDS = 20
ENDED = ("succeeded", "failed", "timed_out", "cancelled")


class HubProcess:
    """One hub: its data, its process, which may be stopped, killed and started again, and its output."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        arguments: Sequence[str] = (),
        command: Sequence[str | Path] = (sys.executable, "-m", "app"),
    ) -> None:
        self.folder = folder
        self.run = uuid.uuid4().hex
        self.environ = {**environ, RUN_MARKER: self.run}
        self.arguments = list(arguments)
        self.command = [str(part) for part in command]
        self.port = 0
        self.url = ""
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._client: httpx.Client | None = None
        self._answered = threading.Event()

    @property
    def log(self) -> str:
        """Everything that the hub has printed, over all its starts."""
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the hub was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def client(self) -> httpx.Client:
        """A client of this hub that keeps its connections."""
        if self._client is None:
            self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        return self._client

    @property
    def children(self) -> dict[int, str]:
        """Every living process that came from this hub, orphans too, with its command line."""
        return {pid: text for pid, text in relatives(self.run).items() if pid != self.pid}

    def start(self) -> "HubProcess":
        """Start and return once it takes connections. A later start takes the same port again."""
        assert not self.is_running, "the hub runs already"
        self._answered.clear()
        self._process = subprocess.Popen(
            [*self.command, "serve", "--port", str(self.port), *self.arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        self._answered.wait(START_SECONDS)
        if (code := self._process.poll()) is not None or not self._answered.is_set():
            self.kill()
            how = f"within {START_SECONDS} s" if code is None else f"and ended with {code}"
            raise AssertionError(f"the hub did not start {how}\n{self.log}")
        return self

    def refusal(self) -> int:
        """Start a hub that is expected to refuse, and return its exit code."""
        try:
            self.start()
        except AssertionError:
            assert self._process is not None
            return self._process.returncode
        self.kill()
        raise AssertionError(f"the hub started although it should refuse\n{self.log}")

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                self._lines.append(line)
                if match := LISTENING.search(line):
                    self.url, self.port = match[1], int(match[2])
                    self._answered.set()
        process.wait()
        self._answered.set()

    def stop(self, timeout: float = STOP_SECONDS, *, codex_works: bool = False) -> None:
        """Ask it to stop, and insist that it does so cleanly and leaves no process behind: only an app-server
        whose turn goes on."""
        if not self.is_running:
            return
        self.signal(signal.SIGTERM)
        code = self.wait(timeout)
        assert code == 0, f"the hub ended with {code}\n{self.log}"
        if codex_works:
            return
        wait_until(
            lambda: not relatives(self.run),
            f"the hub left processes behind: {relatives(self.run)}\n{self.log}\nnot gone",
            timeout=3,
        )

    def kill(self) -> None:
        """Take its life without warning. What it started may live on, as the design wants."""
        if self.is_running:
            self.signal(signal.SIGKILL)
        self.wait(STOP_SECONDS)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit code; the test fails when it has not ended by then."""
        assert self._process is not None
        assert self._reader is not None
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise AssertionError(f"the hub did not end within {timeout} s\n{self.log}") from error
        finally:
            self._close_client()
        # A child that outlives a killed hub may hold the pipe open: its lines are of no interest.
        self._reader.join(1 if code else STOP_SECONDS)
        return code

    def accept(self, **body: Any) -> dict[str, Any]:
        """Hand in a dispatch; its receipt."""
        answer = self.client.post("/api/dispatches", json=body)
        assert answer.status_code == 202, answer.text
        receipt: dict[str, Any] = answer.json()
        return receipt

    def dispatch(self, dispatch_id: str) -> dict[str, Any]:
        """A dispatch as it stands."""
        found: dict[str, Any] = self.client.get(f"/api/dispatches/{dispatch_id}").json()
        return found

    def dispatch_when(
        self, dispatch_id: str, key: str = "dispatchStatus", values: Container[Any] = ENDED, timeout: float = 60
    ) -> dict[str, Any]:
        """The dispatch once a key of it has one of these values: by default, once it has ended."""

        def look() -> dict[str, Any] | None:
            found = self.dispatch(dispatch_id)
            return found if found[key] in values else None

        complaint = f"{key} of dispatch {dispatch_id} did not become one of {values}\n{self.log}\nnot"
        return wait_until(look, complaint, timeout=timeout) or {}

    def restart(self) -> "HubProcess":
        """Stop cleanly unless it is dead already, and start again on the same data and port."""
        self.stop()
        return self.start()

    def _close_client(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def end(self) -> None:
        """For the fixture: stop what runs, end what it left, and close everything."""
        try:
            self.stop(codex_works=True)
        finally:
            self._close_client()
            end_relatives(self.run)
            if self._reader is not None:
                self._reader.join(STOP_SECONDS)


class Hubs:
    """Starts hubs and ends them. Call it with settings by name: `hub(codex_sandbox="read-only")`."""

    def __init__(self) -> None:
        # pytest's own folders have long names; a unix socket below them would not fit in its 108 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="hub-"))
        self.started: list[HubProcess] = []

    def prepare(
        self,
        *,
        arguments: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        command: Sequence[str | Path] = (sys.executable, "-m", "app"),
        folder: Path | None = None,
        **settings: Any,
    ) -> HubProcess:
        """A hub that is not started yet. `folder` of another one shares its data and its node."""
        folder = folder or self._folder / str(len(self.started))
        for name in ("home", "work"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        values = {
            "data_dir": folder / "data",
            "log_path": folder / "log" / "activity.log",
            "channel_log_path": folder / "log" / "messages.log",
            "codex_home": folder / "home" / ".codex",
            "codex_command": folder / "no-codex-for-this-test",
            "node": f"node-{len(self.started)}",
        } | settings
        variables = base_environ(folder / "home") | {"PYTHONPATH": str(CHECKOUT)}
        variables |= {f"RELAY_HUB_{name.upper()}": _text(value) for name, value in values.items()}
        hub = HubProcess(folder / "work", variables | dict(environ or {}), arguments, command)
        self.started.append(hub)
        return hub

    def __call__(self, **options: Any) -> HubProcess:
        """A running hub; options as for `prepare`."""
        return self.prepare(**options).start()

    def end(self) -> None:
        problems = []
        for hub in self.started:
            try:
                hub.end()
            except AssertionError as problem:
                problems.append(str(problem))
            # pytest shows this only where the test fails.
            print(hub.log)
        shutil.rmtree(self._folder)
        assert not problems, "\n".join(problems)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)
