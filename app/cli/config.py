"""`relay-hub config`: every setting, its value, and where the value comes from."""

import argparse
import re
import shlex
import sys
from typing import Any

from app.cli.flags import add_command, load_settings
from app.settings import Settings
from app.visible import printable

_SECRETS = re.compile(
    r"(://[^:/@]*:).*(?=@)"  # greedy: an @ that somebody forgot to escape belongs to the password
    r"|((?:password|passwd|secret|token|api_?key|authorization)\w*[\"']?\s*[=:]\s*)[^&]+",
    re.IGNORECASE,
)


def add_to(commands: Any, settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    add_command(commands, settings_flags, "config", "show every setting, its value and its source", run)


def run(given: argparse.Namespace) -> int:
    loaded = load_settings(given)
    for name in Settings.model_fields:
        value, source = getattr(loaded.settings, name), loaded.sources.get(name, "default")
        sys.stdout.write(printable(f"{name} = {_shown(name, value)}  ({source})") + "\n")
    return 0


def _shown(name: str, value: Any) -> str:
    """A value as a flag would take it; secrets are masked."""
    if isinstance(value, tuple):
        shown = [_masked(part) for part in value]
        return shlex.join(shown) if name == "codex_args" else ",".join(shown)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else _masked(str(value))


def _masked(text: str) -> str:
    return _SECRETS.sub(r"\1\2***", text)
