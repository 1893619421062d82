"""`relay-hub approvals`: what Codex asks, and the answers of whoever sits at the terminal."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from app.cli.flags import add_command, load_settings
from app.cli.owner import ask
from app.errors import CannotStart
from app.settings import Settings
from app.visible import printable, visible

PATH = "/api/approvals"
NOTHING = "Codex asks nothing."


def add_to(commands: Any, settings_flags: argparse.ArgumentParser) -> None:
    """Add the command's parser."""
    parser = add_command(commands, settings_flags, "approvals", "show and answer what Codex asks", run)
    parser.add_argument(
        "action", nargs="?", choices=("list", "show", "approve", "deny"), default="list", help="default: list"
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="of the approval to show or to answer")
    parser.add_argument("--all", action="store_true", help="list those that were answered, too")
    parser.add_argument("--json", action="store_true", help="print what the hub says, as JSON")
    parser.add_argument("--answer", metavar="JSON", help="what is to be filled in: an object of values by field")


def run(given: argparse.Namespace) -> int:
    settings = load_settings(given).settings
    if given.action == "list":
        found = ask(settings, "GET", f"{PATH}?limit=200" if given.all else f"{PATH}?limit=200&status=pending")
        lines = [_line(approval) for approval in found["approvals"]] or [NOTHING]
    else:
        found = _one(settings, given)
        lines = list(_shown(found))
    if given.json:
        lines = json.dumps(found, indent=2).split("\n")
    for line in lines:
        sys.stdout.write(f"{printable(line)}\n")
    return 0


def _one(settings: Settings, given: argparse.Namespace) -> dict[str, Any]:
    """An approval as it stands after what is to be done.

    Raises:
        CannotStart: there is none, or the hub does not take the answer.
    """
    if given.id is None:
        raise CannotStart(f"Say which: relay-hub approvals {given.action} ID. relay-hub approvals lists them.")
    path = f"{PATH}/{quote(given.id, safe='')}"
    found = ask(settings, "GET", path)
    if given.action == "show":
        return found
    if not given.json:
        # Shown first: what is answered is what stands here.
        for line in _shown(found):
            sys.stdout.write(f"{printable(line)}\n")
        sys.stdout.write("\n")
        sys.stdout.flush()
    body: dict[str, Any] = {"decision": given.action, "digest": found["digest"]}
    if given.answer is not None:
        try:
            body["answer"] = json.loads(given.answer)
        except ValueError as error:
            raise CannotStart(f"--answer is not JSON: {error}") from None
    return ask(settings, "POST", path, body)


def _line(approval: dict[str, Any]) -> str:
    asked = approval["asked"]
    changes = ", ".join(str(change.get("path")) for change in asked.get("changes", ()))
    words = asked.get("command") or changes or asked.get("tool") or asked.get("message") or ""
    return visible(f"{approval['approvalId']}  {approval['status']:9}  {approval['kind']:11}  {words}")


def _shown(approval: dict[str, Any]) -> Iterator[str]:
    """All of it, line by line."""
    for name in ("approvalId", "status", "kind", "projectId", "threadName", "dispatchId", "expiresAt", "answeredBy"):
        if approval[name] is not None:
            yield f"{name:12} {visible(str(approval[name]))}"
    for name, value in approval["asked"].items():
        if name == "changes":
            for change in value:
                yield f"change       {_text(change.get('kind'))} {_text(change.get('path'))}"
                yield from (f"  {visible(line)}" for line in str(change.get("diff", "")).split("\n"))
        else:
            first, *more = _text(value).split("\n")
            yield f"{name:12} {first}"
            yield from (f"{'':12} {line}" for line in more)


def _text(value: Any) -> str:
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))
