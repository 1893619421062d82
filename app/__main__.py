"""The command `relay-hub`: what can be done, and how it is told when it cannot."""

import argparse
import sys
from collections.abc import Sequence

from app import __version__
from app.cli import approvals, call, config, import_, resume, serve, token
from app.cli.flags import settings_flags
from app.errors import CannotStart


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, or 2 and a sentence on standard error when it cannot run."""
    parser = argparse.ArgumentParser(
        prog="relay-hub", description="Channels and Codex dispatches for your agents.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"relay-hub {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    flags = settings_flags()
    for command in (serve, call, config, import_, approvals, resume, token):
        command.add_to(commands, flags)
    given = parser.parse_args(arguments)
    try:
        code: int = given.run(given)
    except CannotStart as error:
        sys.stderr.write(f"relay-hub: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
