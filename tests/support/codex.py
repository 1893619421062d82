"""A throw-away Codex home that knows only the fake model and the projects of the test."""

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.processes import Finished, base_environ, run

CONFIG = """\
model = "{model}"
model_provider = "fake"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
thread_unload_delay_secs = 0

[model_providers.fake]
name = "fake"
base_url = "{url}/v1"
wire_api = "responses"
requires_openai_auth = false
supports_websockets = false
request_max_retries = 0
stream_max_retries = 0
stream_idle_timeout_ms = 300000

[analytics]
enabled = false

[feedback]
enabled = false

[features]
plugins = false
unbounded_connection_retries = false
"""


class CodexHome:
    """The folder, its config.toml and its trusted projects. `settings` are those of a hub that serves it."""

    def __init__(self, folder: Path, command: Path, model_url: str) -> None:
        self.path = folder / "codex"
        self.command = command
        self._folder = folder
        self._environ = base_environ(folder) | {"CODEX_HOME": str(self.path)}
        self.path.mkdir()
        self.config = self.path / "config.toml"
        self.config.write_text(CONFIG.format(model="fake-model", url=model_url), "utf-8")
        self.project = self.add_project("project")

    @property
    def settings(self) -> dict[str, str]:
        """For the fixture `hub`: `hub(**codex_home.settings)`."""
        return {"codex_command": str(self.command), "codex_home": str(self.path)}

    @property
    def environ(self) -> dict[str, str]:
        """What `codex` itself needs in its environment."""
        return dict(self._environ)

    @property
    def native(self) -> Path:
        """The native program behind npm's wrapper, which would leave it running when killed."""
        packages = self.command.resolve().parents[2]
        found = sorted(packages.glob("codex-*/vendor/*/bin/codex"))
        return found[0] if found else self.command

    def add_project(self, name: str, *, trusted: bool = True) -> Path:
        """A new git repository, trusted by this home unless said otherwise."""
        project = self._folder / name
        project.mkdir()
        subprocess.run(["git", "init", "-q", project], check=True, env=self._environ)
        if trusted:
            self.append(f'[projects.{json.dumps(str(project))}]\ntrust_level = "trusted"\n')
        return project

    def add_mcp_server(self, name: str, url: str) -> None:
        """Let threads of this home use an MCP server."""
        self.append(f'[mcp_servers.{name}]\nurl = "{url}"\n')

    @contextmanager
    def listing_of_turns_as_now(self) -> Iterator[None]:
        """Afterwards Codex's listing of turns is as it was before: it is made from the threads' files, and a Codex that
        is killed leaves it behind them."""
        listing, kept = self.path / "thread_history_1.sqlite", self.path / "kept.sqlite"
        with closing(sqlite3.connect(listing)) as now, closing(sqlite3.connect(kept)) as copy:
            now.backup(copy)
        yield
        with closing(sqlite3.connect(kept)) as copy, closing(sqlite3.connect(listing)) as now:
            copy.backup(now)

    def append(self, toml: str) -> None:
        """Add tables to config.toml."""
        with self.config.open("a", encoding="utf-8") as file:
            file.write(f"\n{toml}")

    def exec(self, prompt: str, timeout: float = 60) -> list[dict[str, object]]:
        """`codex exec --json` in the first project: its events."""
        finished = self.run("exec", "--json", "--skip-git-repo-check", prompt, timeout=timeout)
        return [json.loads(line) for line in finished.stdout.splitlines()]

    def run(self, *arguments: str, timeout: float = 60) -> Finished:
        """`codex` with any arguments, in the first project."""
        return run([self.native, *arguments], cwd=self.project, environ=self._environ, timeout=timeout)
