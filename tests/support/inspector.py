"""The official MCP Inspector on its command line: a client that nobody here wrote."""

import json
from pathlib import Path
from typing import Any

from tests.support.processes import Finished, base_environ, run


class Inspector:
    """Asks one MCP server, one request per run of the program."""

    def __init__(self, folder: Path, command: Path) -> None:
        self._folder = folder
        self._command = command

    def run(self, url: str, method: str, *arguments: str, timeout: float = 60) -> Finished:
        """Any method; an error result ends with code 5, a protocol error with 1."""
        command: list[str | Path] = [self._command, "--cli", url, "--transport", "http", "--method", method]
        environ = base_environ(self._folder)
        return run([*command, *arguments], cwd=self._folder, environ=environ, timeout=timeout)

    def tools(self, url: str) -> list[dict[str, Any]]:
        """The tools that a server offers."""
        finished = self.run(url, "tools/list")
        assert finished.returncode == 0, finished.stderr
        tools: list[dict[str, Any]] = json.loads(finished.stdout)["tools"]
        return tools

    def call(self, url: str, tool: str, **values: object) -> dict[str, Any]:
        """The result of a tool, errors as the tool gives them."""
        arguments = ["--tool-name", tool]
        for name, value in values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            arguments += ["--tool-arg", f"{name}={text}"]
        finished = self.run(url, "tools/call", *arguments)
        assert finished.stdout, finished.stderr
        result: dict[str, Any] = json.loads(finished.stdout)
        return result
