"""`relay-hub serve`: runs the hub."""

import argparse
import gc
import sys
from typing import Any

from app.cli.flags import add_command, load_settings

SWITCH_SEC = 0.0005


def add_to(commands: Any, settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    add_command(commands, settings_flags, "serve", "run the hub until Ctrl+C", run)


def run(given: argparse.Namespace) -> int:
    settings = load_settings(given).settings
    # Hardly anything that imports make is ever garbage: looking for it takes a tenth of the start.
    gc.disable()
    from app.cli import server

    # The thread that writes to the database asks for the interpreter several times for each message; while the event
    # loop is busy it gets it only after this time.
    sys.setswitchinterval(SWITCH_SEC)
    gc.freeze()
    gc.enable()
    server.serve(settings)
    return 0
