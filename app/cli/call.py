"""`relay-hub call`: one tool of a running hub, for scripts and for people."""

import argparse
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO

from app.cli.arguments import Words, WrongUsage, kebab, merged, parse
from app.cli.mcp_client import CallFailed, McpClient
from app.config import load
from app.errors import CannotStart
from app.settings import ENV_PREFIX
from app.visible import printable

TOKEN = f"{ENV_PREFIX}TOKEN"
"""The variable that holds what this command shows to a hub which asks for tokens."""

USAGE = """\
usage: relay-hub call TOOL [--ARGUMENT VALUE ...] [options]

Calls a tool of the running hub and prints its answer.

An argument is written --like-this VALUE or --like-this=VALUE; without a value it is true.
`relay-hub call TOOL --help` shows the arguments of a tool. For example:

  relay-hub call relay_dispatch_async --project-id /srv/p --create-if-missing --message "Run the tests."
  relay-hub call relay_dispatch_status --dispatch-id ID --json

options:
  --json                print {"ok", "command", "text", "payload"}; an error too, as data, on standard output
  --params-json JSON    arguments as a JSON object
  --params-file FILE    the same from a file; wins over --params-json
  --message-file FILE   the argument message, from a file; wins over both. What has a flag of its own wins over all
  --url URL             the hub (default: where the settings host and port say)
  --config FILE         settings file (default: ./config.json)
  -h, --help            show this, and the hub's tools if it runs
"""
ANY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class ProgressLine:
    """One line that is written over and over, where somebody looks at it."""

    def __init__(self) -> None:
        self._is_shown = False
        self.dispatch_id: str | None = None  # the last one that the hub has named

    def show(self, text: str) -> None:
        if found := _UUID.search(text):
            self.dispatch_id = found[0]
        if sys.stderr.isatty():
            self._write(printable(text)[: shutil.get_terminal_size().columns - 1])

    def clear(self) -> None:
        if self._is_shown:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
        self._is_shown = bool(text)


def add_to(commands: Any, _settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser. The tools' own flags are known to the hub alone, so nothing here is a flag to it."""
    parser = commands.add_parser("call", help="call a tool of the running hub", add_help=False, prefix_chars="\0")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    try:
        words = parse(given.words)
    except WrongUsage as error:
        sys.stderr.write(f"{printable(str(error))}\n\n{USAGE}")
        return 1
    if words.tool is None or words.wants_help:
        _show_usage(words)
    try:
        text, payload = _call(words, words.tool)
    except CallFailed as error:
        if not words.as_json:
            _print(f"[{error.code}] {error.message}", sys.stderr)
            return 1
        answer = {"relayCode": error.code, "message": error.message, "details": error.details}
        _print(json.dumps({"ok": False, "command": words.tool, **answer}, indent=2))
        return 1
    if words.as_json:
        text = json.dumps({"ok": True, "command": words.tool, "text": text, "payload": payload}, indent=2)
    _print(text)
    return 0


def _call(words: Words, tool: str) -> tuple[str, Any]:
    progress = ProgressLine()
    with _client(words) as hub:
        tools = hub.tools()
        if tool not in tools:
            text = f"Unknown relay CLI command: {tool}"
            raise CallFailed("invalid_command", text, {"commandName": tool, "supportedCommands": list(tools)})
        arguments = merged(words, tools[tool]["inputSchema"].get("properties", {}))
        progress.show(f"{tool} …")
        try:
            return hub.call(tool, arguments, progress.show)
        except KeyboardInterrupt:
            progress.clear()
            if not tools[tool]["annotations"]["readOnlyHint"]:
                sys.stderr.write(_goes_on(progress.dispatch_id or arguments.get("dispatchId"), tools))
            raise
        finally:
            progress.clear()


def _client(words: Words) -> McpClient:
    """The hub that options and settings name.

    Raises:
        CallFailed: the URL is none.
        SettingsError: a setting is unknown or does not fit.
    """
    token = os.environ.get(TOKEN)
    url = words.options.get("url")
    if url is None:
        config = words.options.get("config")
        loaded = load(config=Path(config) if config else None)
        for warning in loaded.warnings:
            sys.stderr.write(f"warning: {warning}\n")
        host = loaded.settings.host.strip("[]")
        host = ANY_INTERFACE.get(host, host)
        url = f"http://{f'[{host}]' if ':' in host else host}:{loaded.settings.port}"
    return McpClient(url, token)


def _goes_on(dispatch_id: Any, tools: Mapping[str, Any]) -> str:
    text = "What the hub has taken goes on without you."
    if dispatch_id:
        named = shlex.quote(printable(str(dispatch_id)))
        text += f" Ask for it:\n  relay-hub call relay_dispatch_status --dispatch-id {named}"
    elif "relay_list_dispatches" in tools:
        text += " See it:\n  relay-hub call relay_list_dispatches"
    return f"{text}\n"


def _show_usage(words: Words) -> NoReturn:
    """Say how the command is used; of a tool, or of all tools, what a running hub says."""
    try:
        with _client(words) as hub:
            tools = hub.tools()
    except (CallFailed, CannotStart):
        tools = {}
    if words.tool in tools:
        _print(_tool_usage(words.tool, tools[words.tool]))
        sys.exit(0)
    _print(USAGE)
    if tools:
        # Of a description the first sentence: the rest tells a model how to go about it.
        firsts = {name: tool["description"].partition(". ")[0].rstrip(".") for name, tool in tools.items()}
        _print("tools:\n" + "\n".join(f"  {name:24}{first}" for name, first in firsts.items()))
    sys.exit(0)


def _tool_usage(name: str, tool: Mapping[str, Any]) -> str:
    schema = tool["inputSchema"]
    required = schema.get("required", [])
    lines = [f"usage: relay-hub call {name} [--ARGUMENT VALUE ...] [options]", "", tool["description"]]
    for argument, about in schema.get("properties", {}).items():
        lines += [] if len(lines) > 3 else ["", "arguments:"]
        kind = about.get("type", "any") + (", required" if argument in required else "")
        lines.append(f"  --{kebab(argument):22}{kind:20}{about.get('description', '')}".rstrip())
    return "\n".join([*lines, "", "`relay-hub call --help` shows the options."])


def _print(text: str, stream: TextIO | None = None) -> None:
    """Write a text as the stream can take it; on a terminal, nothing in it can drive the terminal."""
    stream = stream or sys.stdout
    if stream.isatty():
        text = "\n".join(map(printable, text.split("\n")))
    stream.write(f"{text}\n".encode(stream.encoding, "backslashreplace").decode(stream.encoding))
