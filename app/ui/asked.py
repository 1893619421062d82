"""What Codex asks, as a page shows it: all of it, and nothing that could look like something else."""

import json
from typing import Any, NamedTuple

from app.dispatch import asked
from app.dispatch.forms import Field
from app.dispatch.progress import as_diff
from app.models import Approval, ApprovalKind
from app.visible import visible

TITLES = {
    ApprovalKind.COMMAND: "Codex wants to run a command",
    ApprovalKind.FILES: "Codex wants to change files",
    ApprovalKind.PERMISSIONS: "Codex wants more permissions",
    ApprovalKind.INPUT: "Codex asks you",
    ApprovalKind.ELICITATION: "An MCP server asks you",
    ApprovalKind.TOOL: "Codex wants to call a tool",
}
LABELS = {
    "command": "Command",
    "cwd": "Folder",
    "reason": "Codex says",
    "serverName": "MCP server",
    "tool": "Tool",
    "message": "It says",
    "url": "Address",
    "grantRoot": "Writing from now on in",
}
"""Of what is said in a line. Everything else that is asked is shown under its own name."""


class Change(NamedTuple):
    """What happens to one file."""

    what: str
    path: str
    moved_to: str


class View(NamedTuple):
    title: str
    code: str
    """A command or arguments, to the letter."""
    changes: list[Change]
    diff: str
    facts: list[tuple[str, str]]
    link: str
    """An address to open."""
    fields: list[Field]


def view(approval: Approval) -> View:
    """Everything that the question says."""
    rest = asked.content(approval)
    fields = asked.fields(approval)
    code, diff, link = "", "", ""
    changes: list[Change] = []
    match approval.kind:
        case ApprovalKind.COMMAND if isinstance(rest.get("command"), str):
            code = visible(rest.pop("command"))
        case ApprovalKind.FILES:
            rows = rest.pop("changes")
            changes, diff = [_change(row) for row in rows], "\n".join(map(_diff, rows))
        case ApprovalKind.PERMISSIONS:
            code = _json(rest.pop("permissions"))
        case ApprovalKind.TOOL:
            code = _json(rest.pop("arguments"))
            rest.pop("mode", None)
        case ApprovalKind.INPUT:
            rest.pop("questions")
        case ApprovalKind.ELICITATION:
            rest.pop("requestedSchema", None)
            rest.pop("mode", None)
            link = rest["url"] if str(rest.get("url", "")).startswith(("https://", "http://")) else ""
    known = [name for name in LABELS if name in rest]
    names = [*known, *(name for name in rest if name not in LABELS)]
    facts = [(LABELS.get(name, name), _text(rest[name])) for name in names]
    return View(TITLES[approval.kind], code, changes, diff, facts, link, fields)


def in_words(approval: Approval) -> str:
    """The question in a line."""
    seen = view(approval)
    of_files = ", ".join(change.path for change in seen.changes)
    asked_for = seen.fields[0].label if seen.fields else ""
    return " ".join((seen.code or of_files or asked_for or dict(seen.facts).get("It says", "")).split())


def _change(row: dict[str, Any]) -> Change:
    kind = row.get("kind")
    kind = kind if isinstance(kind, dict) else {"type": kind}
    return Change(_line(kind.get("type")), _line(row.get("path")), _line(kind.get("move_path") or ""))


def _diff(row: dict[str, Any]) -> str:
    return as_diff({**row, "path": _line(row.get("path")), "diff": visible(str(row.get("diff") or ""))})


def _line(value: Any) -> str:
    return visible(str(value)).replace("\n", "\\n").replace("\t", "\\t")


def _text(value: Any) -> str:
    return visible(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False, indent=1))
