"""`relay-hub import`: takes over what an older relay has kept."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.console import printable
from app.cli.flags import add_command, load_settings
from app.errors import CannotStart, DatabaseUnavailable

if TYPE_CHECKING:
    from app.importing import Imported


def add_to(commands: Any, settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    purpose = "take the messages of an older relay into the database; no hub may run on it"
    parser = add_command(commands, settings_flags, "import", purpose, run)
    parser.add_argument(
        "--channel-log",
        type=Path,
        metavar="FILE",
        required=True,
        help="archive of messages; its rotations FILE.1, FILE.2, … are found and taken first",
    )


def run(given: argparse.Namespace) -> int:
    settings = load_settings(given).settings

    from app.importing import import_channel_log

    try:
        imported = asyncio.run(import_channel_log(settings, given.channel_log, _tell_file))
    except DatabaseUnavailable as error:
        raise CannotStart(f"{error.message}. What was taken stays; run the command again to go on.") from None
    sys.stdout.writelines(f"{printable(line)}\n" for line in _summary(imported))
    return 0


def _tell_file(path: Path) -> None:
    sys.stderr.write(printable(f"reading {path}") + "\n")


def _summary(imported: "Imported") -> list[str]:
    lines = [f"{imported.kept + imported.renumbered} messages imported, {imported.known} were here already."]
    if imported.renumbered:
        lines.append(
            f"{imported.kept} kept their ids. {imported.renumbered} got new ones, #{imported.first_new} to "
            f"#{imported.last_new}, because an id must be greater than all that are there."
        )
    if imported.left_out:
        lines.append(f"{imported.left_out} lines hold no message that can be stored and were left out:")
        lines += [f"  {example}" for example in imported.examples]
        if imported.left_out > len(imported.examples):
            lines.append("  …")
    return lines
