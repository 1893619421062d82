"""`relay-hub resume`: what the loop guard has paused, and letting it go on."""

import argparse
import sys
from typing import Any

from app.cli.flags import add_command, load_settings
from app.cli.owner import ask
from app.visible import printable


def add_to(commands: Any, settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    parser = add_command(commands, settings_flags, "resume", "let go on what the loop guard has paused", run)
    parser.add_argument("key", nargs="?", metavar="KEY", help="what to resume; without it, what is paused is listed")


def run(given: argparse.Namespace) -> int:
    settings = load_settings(given).settings
    if given.key is not None:
        resumed = ask(settings, "POST", "/api/pauses/resume", {"key": given.key})
        lines = [f"Resumed: {resumed['key']}"]
    else:
        pauses = ask(settings, "GET", "/api/pauses")["pauses"]
        lines = [f"{pause['key']}  {pause['pausedAt']}  {pause['reason']}" for pause in pauses]
    for line in lines or ["Nothing is paused."]:
        sys.stdout.write(f"{printable(line)}\n")
    return 0
