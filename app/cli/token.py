"""`relay-hub token`: who may come in. Works on the database, beside a hub that runs.

Models and database are imported late: every command imports this, and most need neither.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from app.cli.flags import add_command, load_settings
from app.errors import CannotStart, HubError
from app.settings import Settings
from app.visible import printable

if TYPE_CHECKING:
    from app.models import Scope, Token
    from app.storage.database import Database, Tx

P = ParamSpec("P")
T = TypeVar("T")

DAY_SEC = 24 * 3600
USAGE = """\
  relay-hub token create NAME [--scope A,B] [--human] [--expires DAYS]
  relay-hub token list
  relay-hub token rotate NAME
  relay-hub token revoke NAME
  relay-hub token clear --yes

Each of them takes the settings as flags, as serve does."""


def add_to(commands: Any, settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    purpose = "say who may use the hub: make, list, renew and take back tokens"
    parser = commands.add_parser(
        "token",
        help=purpose,
        description=purpose,
        epilog=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, purpose: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        return add_command(actions, settings_flags, name, purpose, run)

    create = add("create", "make a token and print it, once", run_create)
    create.add_argument("name", metavar="NAME", help="by which its bearer is known; the sender of all that it posts")
    create.add_argument(
        "--scope",
        metavar="A,B",
        help="rights, of read, post, dispatch, approve, admin (default: the first three; of a person all)",
    )
    create.add_argument(
        "--human", action="store_true", help="for a person, who logs in with it (as with approve or admin)"
    )
    create.add_argument("--expires", metavar="DAYS", help="it counts for so many days (default: for ever)")
    add("list", "print all tokens, without the tokens themselves", run_list)
    for name, purpose, run in (
        ("rotate", "make a new token in the place of one, and print it", run_rotate),
        ("revoke", "let a token count no longer", run_revoke),
    ):
        add(name, purpose, run).add_argument("name", metavar="NAME")
    clear = add("clear", "remove all tokens: the hub then asks nobody on this machine who they are", run_clear)
    clear.add_argument("--yes", action="store_true", help="do it")


def run_create(given: argparse.Namespace) -> int:
    from app.chat import checked_name
    from app.models import HUMAN_SCOPES, Kind, Token
    from app.security.tokens import digest_of, new_secret
    from app.storage import principals

    settings = load_settings(given).settings
    scopes = _scopes(given.scope, is_human=given.human)
    # Whoever may approve is a person, and who says so is the one at this terminal.
    kind = Kind.HUMAN if given.human or HUMAN_SCOPES.intersection(scopes) else Kind.AGENT
    expires_at = _expiry(given.expires)
    try:
        name = checked_name("name", given.name, settings.max_name_chars)
    except HubError as error:
        raise CannotStart(error.message) from None
    secret = new_secret()
    token = Token(
        name=name, kind=kind, scopes=",".join(scopes), digest=digest_of(secret.encode()), expires_at=expires_at
    )
    _change(settings, principals.create, token)
    whose = "a person, for no agent" if kind is Kind.HUMAN else "an agent"
    _tell(f"The token of {name}, {whose}, who may {', '.join(scopes)}. It is shown this once:")
    _print(secret)
    return 0


def run_rotate(given: argparse.Namespace) -> int:
    from app.security.tokens import digest_of, new_secret
    from app.storage import principals

    secret = new_secret()
    name = given.name.strip()
    _change(load_settings(given).settings, principals.rotate, name, digest_of(secret.encode()))
    _tell(f"The old token of {name} counts no longer. The new one is shown this once:")
    _print(secret)
    return 0


def run_revoke(given: argparse.Namespace) -> int:
    from app.storage import principals

    name = given.name.strip()
    _change(load_settings(given).settings, principals.revoke, name)
    _tell(f"The token of {name} counts no longer.")
    return 0


def run_clear(given: argparse.Namespace) -> int:
    if not given.yes:
        raise CannotStart(
            "This removes all tokens: a hub that listens on this machine alone then lets every program on it in. "
            "If you want that, add --yes."
        )

    from app.storage import principals

    count = _change(load_settings(given).settings, principals.clear)
    _tell(f"{count} token(s) removed.")
    return 0


def run_list(given: argparse.Namespace) -> int:
    from app.storage import principals

    async def read(database: "Database") -> "list[Token]":
        return await database.read(principals.tokens)

    found = asyncio.run(_opened(load_settings(given).settings, read))
    if not found:
        _tell("There are no tokens. A hub that listens on this machine alone asks nobody who they are.")
        return 0
    now = time.time()
    rows = [("NAME", "KIND", "SCOPES", "MADE", "EXPIRES", "STATE")]
    for token in found:
        state = "valid" if principals.is_valid(token, now) else "revoked" if token.revoked_at else "expired"
        expires = _day(token.expires_at) if token.expires_at else "never"
        rows.append((printable(token.name), token.kind, token.scopes, _day(token.created_at), expires, state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _change(settings: Settings, unit: "Callable[Concatenate[Tx, P], T]", *args: P.args, **kwargs: P.kwargs) -> T:
    """Change the tokens, and return once every running hub obeys.

    Raises:
        CannotStart: it cannot be done; the text says why.
    """
    from app.security.principals import CACHE_SEC

    async def change(database: "Database") -> T:
        result = await database.write(unit, *args, **kwargs)
        await asyncio.sleep(CACHE_SEC)
        return result

    return asyncio.run(_opened(settings, change))


async def _opened(settings: Settings, work: "Callable[[Database], Awaitable[T]]") -> T:
    from app.storage.database import Database

    database = Database(settings.database, "relay-hub token")
    await database.open(beside_hub=True)
    try:
        return await work(database)
    except HubError as error:
        raise CannotStart(error.message) from None
    finally:
        await database.close()


def _scopes(given: str | None, *, is_human: bool) -> "list[Scope]":
    from app.models import HUMAN_SCOPES, Scope

    if given is None:
        return [scope for scope in Scope if is_human or scope not in HUMAN_SCOPES]
    names = {name.strip() for name in given.split(",")} - {""}
    if not names or (unknown := names - set(Scope)):
        wrong = f"There is no scope {min(unknown)!r}." if names else "--scope names none."
        raise CannotStart(f"{wrong} Scopes are: {', '.join(Scope)}.")
    return [scope for scope in Scope if scope in names]


def _expiry(days: str | None) -> float | None:
    if days is None:
        return None
    try:
        seconds = float(days) * DAY_SEC
        datetime.fromtimestamp(time.time() + seconds, UTC)  # it can be shown
    except (ValueError, OverflowError, OSError):
        seconds = 0
    if not seconds > 0:
        raise CannotStart(f"--expires must be a number of days above 0, not {days!r}.")
    return time.time() + seconds


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _tell(line: str) -> None:
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()
