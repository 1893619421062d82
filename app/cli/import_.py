"""`relay-hub import`: takes over what an older relay has kept."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.flags import add_command, load_settings
from app.errors import CannotStart, DatabaseUnavailable
from app.visible import printable

if TYPE_CHECKING:
    from app.importing.channel_log import Imported
    from app.importing.relay_state import Taken
    from app.importing.source import LeftOut


def add_to(commands: Any, settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    purpose = "take what an older relay has kept into the database; no hub may run on it"
    parser = add_command(commands, settings_flags, "import", purpose, run)
    parser.add_argument(
        "--channel-log",
        type=Path,
        metavar="FILE",
        help="archive of messages; its rotations FILE.1, FILE.2, … are found and taken first",
    )
    parser.add_argument(
        "--relay-state",
        type=Path,
        metavar="FILE",
        help="state.json of the older dispatch relay: its dispatches, callbacks and remembered threads",
    )


def run(given: argparse.Namespace) -> int:
    if given.channel_log is None and given.relay_state is None:
        raise CannotStart("Say what to import: --channel-log FILE, --relay-state FILE, or both.")
    settings = load_settings(given).settings

    from app.importing.channel_log import import_channel_log
    from app.importing.relay_state import import_relay_state, read_relay_state

    state = None
    if given.relay_state is not None:
        _tell_file(given.relay_state)
        state = read_relay_state(given.relay_state, str(settings.codex_home))
    try:
        if given.channel_log is not None:
            _tell(_of_messages(asyncio.run(import_channel_log(settings, given.channel_log, _tell_file))))
        if state is not None:
            _tell(_of_dispatches(asyncio.run(import_relay_state(settings, state)), state.left_out))
    except DatabaseUnavailable as error:
        raise CannotStart(f"{error.message}. What was taken stays; run the command again to go on.") from None
    return 0


def _tell_file(path: Path) -> None:
    sys.stderr.write(printable(f"reading {path}") + "\n")


def _tell(lines: list[str]) -> None:
    sys.stdout.writelines(f"{printable(line)}\n" for line in lines)


def _of_messages(imported: "Imported") -> list[str]:
    lines = [f"{imported.kept + imported.renumbered} messages imported, {imported.known} were here already."]
    if imported.renumbered:
        lines.append(
            f"{imported.kept} kept their ids. {imported.renumbered} got new ones, #{imported.first_new} to "
            f"#{imported.last_new}, because an id must be greater than all that are there."
        )
    return lines + _of_rest(imported.left_out, "lines hold no message that can be stored and were left out")


def _of_dispatches(taken: "Taken", left_out: "LeftOut") -> list[str]:
    lines = [f"{len(taken.dispatches)} dispatches imported, {taken.known_dispatches} were here already."]
    if taken.interrupted:
        lines.append(
            f"{taken.interrupted} of them were not finished. They have failed (turn_interrupted), so that no turn runs "
            "twice: look at their threads."
        )
    if taken.callbacks:
        lines.append(f"{taken.callbacks} callbacks are pending; the hub delivers them when it starts.")
    lines.append(f"{taken.threads} threads remembered, {taken.known_threads} were here already.")
    return lines + _of_rest(left_out, "entries are incomplete and were left out")


def _of_rest(left_out: "LeftOut", what: str) -> list[str]:
    if not left_out.count:
        return []
    lines = [f"{left_out.count} {what}:", *(f"  {example}" for example in left_out.examples)]
    return [*lines, "  …"] if left_out.count > len(left_out.examples) else lines
