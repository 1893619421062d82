"""What Codex asks, in the hub's terms: what kind of question it is, what exactly it says, and how Codex is answered."""

import hashlib
import json
from typing import Any, NamedTuple

from app.codex import questions
from app.codex.questions import Question
from app.dispatch import forms
from app.dispatch.forms import Field, FieldKind, UnknownForm
from app.errors import BadRequest
from app.models import Approval, ApprovalKind, ApprovalStatus

MOST_ASKED = 256_000
"""Characters. What is larger nobody reads before saying yes to it; it is declined."""
HIDDEN = "(not kept)"
"""What stays of a secret in the row once Codex has it."""
TOOL_CALL = "mcp_tool_call"

_NOISE = frozenset(
    [
        "threadId",
        "turnId",
        "itemId",
        "startedAtMs",
        "approvalId",
        "availableDecisions",
        "commandActions",
        "isBlocking",
        "autoResolutionMs",
        "proposedExecpolicyAmendment",
        "proposedNetworkPolicyAmendments",
    ]
)
"""Who asks and when, what Codex would offer besides yes and no, and what it says of the command in other words."""
_ORDINARY = {"kind": "command", "environmentId": "local"}
PLAIN_COMMAND = frozenset({"command", "cwd", "reason"})


class Asked(NamedTuple):
    kind: ApprovalKind
    content: dict[str, Any]
    """Everything that the answer is about; what Codex adds in later versions too."""
    text: str
    """The same as canonical JSON."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def command(self) -> str | None:
        """The command line, where the question is about one."""
        return self.content["command"] if self.kind is ApprovalKind.COMMAND and self._is_run else None

    @property
    def is_plain_command(self) -> bool:
        """Whether nothing is asked but to run a command in a folder."""
        return self.command is not None and self.content.keys() <= PLAIN_COMMAND

    @property
    def folder(self) -> str:
        return _text(self.content.get("cwd"))

    @property
    def _is_run(self) -> bool:
        return isinstance(self.content.get("command"), str) and "kind" not in self.content


def read(question: Question) -> Asked:
    """What a question asks.

    Raises:
        UnknownForm: it is of a kind, or of a form, that no human can be shown; or it is too large.
    """
    content = {
        key: value
        for key, value in question.params.items()
        if key not in _NOISE and value is not None and _ORDINARY.get(key) != value
    }
    match question.method:
        case questions.COMMAND:
            kind = ApprovalKind.COMMAND
            if not content:
                raise UnknownForm("a command that is not said")
        case questions.FILES:
            kind = ApprovalKind.FILES
            content["changes"] = _changes(question.item)
        case questions.PERMISSIONS if isinstance(content.get("permissions"), dict):
            kind = ApprovalKind.PERMISSIONS
        case questions.INPUT:
            kind = ApprovalKind.INPUT
            if not forms.of_questions(content.get("questions")):
                raise UnknownForm("no question")
        case questions.ELICITATION:
            kind, content = _elicited(content)
        case _:
            raise UnknownForm(question.method)
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise UnknownForm("a number that is none") from None
    if len(text) > MOST_ASKED:
        raise UnknownForm(f"{len(text)} characters, of which nobody reads more than {MOST_ASKED}")
    return Asked(kind, content, text)


def content(approval: Approval) -> dict[str, Any]:
    """What an approval's question says."""
    found: dict[str, Any] = json.loads(approval.asked)
    return found


def fields(approval: Approval) -> list[Field]:
    """What is to be filled in to say yes; mostly nothing."""
    match approval.kind:
        case ApprovalKind.INPUT:
            return forms.of_questions(content(approval).get("questions"))
        case ApprovalKind.ELICITATION if "requestedSchema" in content(approval):
            return forms.of_schema(content(approval)["requestedSchema"])
    return []


def filled(approval: Approval, given: Any) -> dict[str, Any]:
    """What a human filled in, checked.

    Raises:
        BadRequest: it does not fit what is asked.
    """
    wanted = fields(approval)
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise BadRequest("answer must be an object", field="answer")
    if approval.kind is ApprovalKind.INPUT:
        # A question may be answered as Codex takes it, with a list.
        given = {name: each[0] if isinstance(each, list) and len(each) == 1 else each for name, each in given.items()}
    return forms.read(wanted, given)


def kept(approval: Approval) -> str | None:
    """What stays of an answer once Codex has it."""
    secret = {field.name for field in fields(approval) if field.kind is FieldKind.SECRET}
    if approval.answer is None or not secret:
        return approval.answer
    values = json.loads(approval.answer)
    return json.dumps({name: HIDDEN if name in secret else value for name, value in values.items()})


def result(approval: Approval) -> dict[str, Any]:
    """What Codex is told. For what was not approved that is no; where nobody waits for the turn, that it may end."""
    is_yes = approval.status is ApprovalStatus.APPROVED
    values = json.loads(approval.answer) if approval.answer else {}
    no = "cancel" if approval.status is ApprovalStatus.WITHDRAWN else "decline"
    match approval.kind:
        case ApprovalKind.COMMAND | ApprovalKind.FILES:
            return {"decision": "accept" if is_yes else no}
        case ApprovalKind.PERMISSIONS:
            granted = content(approval)["permissions"] if is_yes else {}
            return {"permissions": {name: each for name, each in granted.items() if each is not None}, "scope": "turn"}
        case ApprovalKind.INPUT:
            return {"answers": {name: {"answers": [value]} for name, value in values.items()} if is_yes else {}}
        case _:
            has_content = is_yes and "url" not in content(approval)
            return {"action": "accept" if is_yes else no, "content": values if has_content else None, "_meta": None}


def _changes(item: dict[str, Any] | None) -> list[dict[str, Any]]:
    changes = (item or {}).get("changes")
    if not isinstance(changes, list) or not changes or not all(isinstance(change, dict) for change in changes):
        raise UnknownForm("changes of files that Codex does not tell")
    return changes


def _elicited(content: dict[str, Any]) -> tuple[ApprovalKind, dict[str, Any]]:
    meta = content.pop("_meta", None)
    meta = meta if isinstance(meta, dict) else {}
    wanted = content.get("requestedSchema")
    if meta.get("codex_approval_kind") == TOOL_CALL:
        if not isinstance(meta.get("tool_name"), str) or forms.of_schema(wanted):
            raise UnknownForm("a tool call that asks for more than a yes")
        content.pop("requestedSchema")
        content |= {"tool": meta["tool_name"], "arguments": meta.get("tool_params") or {}}
        return ApprovalKind.TOOL, content
    if "codex_approval_kind" in meta:
        raise UnknownForm(f"an approval of kind {meta['codex_approval_kind']}")
    match content.get("mode"):
        case "form":
            forms.of_schema(wanted)
        case "url" if isinstance(content.get("url"), str):
            pass
        case mode:
            raise UnknownForm(f"an elicitation of mode {mode}")
    return ApprovalKind.ELICITATION, content


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
