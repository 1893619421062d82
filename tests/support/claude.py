"""The real Claude Code in a throw-away home, talking to the fake model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import Finished, base_environ, run

SILENCED = (
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "DISABLE_AUTOUPDATER",
    "DISABLE_BUG_COMMAND",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_TELEMETRY",
)


class Claude:
    """Runs `claude -p`. Call it with a prompt, the MCP servers by name, and the tools it may use."""

    def __init__(self, folder: Path, command: Path, model_url: str) -> None:
        self.home = folder / "claude-home"
        self.project = folder / "claude-project"
        self.home.mkdir()
        self.project.mkdir()
        self._command = command
        self.environ = base_environ(self.home) | {
            "ANTHROPIC_BASE_URL": model_url,
            "ANTHROPIC_API_KEY": "not-a-key",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            **dict.fromkeys(SILENCED, "1"),
        }

    def __call__(
        self,
        prompt: str,
        *,
        mcp: Mapping[str, str | dict[str, Any]] | None = None,
        allowed: Sequence[str] = (),
        arguments: Sequence[str] = (),
        timeout: float = 60,
    ) -> Finished:
        """`mcp` maps a name to a URL, or to a whole server entry with headers."""
        servers = {
            name: {"type": "http", "url": server} if isinstance(server, str) else server
            for name, server in (mcp or {}).items()
        }
        command: list[str | Path] = [self._command, "-p", prompt, "--strict-mcp-config"]
        command += ["--mcp-config", json.dumps({"mcpServers": servers})]
        if allowed:
            command += ["--allowedTools", *allowed]
        return run([*command, *arguments], cwd=self.project, environ=self.environ, timeout=timeout)
