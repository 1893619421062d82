"""What turns may do, from the settings alone: sandbox, when Codex asks, and which commands need no human.

Rules are about what Codex asks. A command that it runs inside its sandbox without asking is not seen here.
"""

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from app.codex.limits import Limits
from app.codex.projects import normalise, path_key
from app.settings import ProjectPolicy, Settings

DANGER = "danger-full-access"
SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ksh"})
SHELL_FOLDERS = frozenset({"", "/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"})
"""Where a shell may lie that an allow rule looks into: any other program could be called bash."""
LEADING = re.compile(
    r"sudo|doas|env|command|builtin|exec|nohup|setsid|time|nice|ionice|timeout|stdbuf|xargs|eval"
    r"|if|then|elif|else|while|until|do|!|\{"
)
"""Words before the command proper; a deny rule looks past them."""

_SYNTAX = re.compile(r"[;|&$`()<>\n\r\0]")
_BETWEEN = re.compile(r"[;|&`()<>\n\r]+|\$\(|\$\{?")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
MOST_CHARS = 10_000
"""A human looks at longer commands: to take them apart would take long."""
MOST_WORDS = 16
"""No rule is longer."""


class Ruling(NamedTuple):
    """What a rule of the settings says to a command."""

    is_allowed: bool
    rule: str


class Policy(NamedTuple):
    """What holds for the turns of one project."""

    path: str
    limits: Limits
    allow: tuple[tuple[str, ...], ...]
    deny: tuple[tuple[str, ...], ...]

    def ruling(self, command: str, folder: str, is_plain: bool) -> Ruling | None:
        """What the rules say to a command that is to be run in a folder; None: a human is asked.

        Allow rules hold inside the project, and only where `is_plain`: nothing is asked but to run the command.
        """
        if len(command) > MOST_CHARS:
            return None
        for words in _commands(command):
            if rule := _matching(self.deny, words):
                return Ruling(False, rule)
        if is_plain and _inside(folder, self.path) and (rule := _matching(self.allow, _sole_command(command))):
            return Ruling(True, rule)
        return None


class Policies:
    """The policies of all projects."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._projects = {spelling: each for path, each in settings.projects.items() for spelling in _spellings(path)}

    @property
    def in_danger(self) -> list[str]:
        """Projects whose turns run without a sandbox; `every project` where the hub's own setting says so."""
        wide = ["every project"] if self._settings.codex_sandbox == DANGER else []
        return wide + [normalise(path) for path, each in self._settings.projects.items() if each.sandbox == DANGER]

    def of(self, path: str) -> Policy:
        """The policy for a folder: that of the nearest project in the settings above it, else the hub's own."""
        settings = self._settings
        own = self._nearest(path)
        return Policy(
            path,
            Limits(own.sandbox or settings.codex_sandbox, own.approval or settings.codex_approval),
            tuple(map(_words, (*settings.codex_allow, *own.allow))),
            tuple(map(_words, (*settings.codex_deny, *own.deny))),
        )

    def _nearest(self, path: str) -> ProjectPolicy:
        for spelling in _spellings(path):
            for folder in _upwards(spelling):
                if found := self._projects.get(folder):
                    return found
        return ProjectPolicy()


def _spellings(path: str) -> list[str]:
    """A path as it is written, and without the links in it."""
    written = path_key(path)
    real = path_key(str(Path(written).resolve())) if written.startswith("/") else written
    return [written] if real == written else [written, real]


def _upwards(path: str) -> Iterator[str]:
    """A folder and all above it."""
    separator = "/" if path.startswith("/") else "\\"
    while path:
        yield path
        above = path.rpartition(separator)[0]
        if not above and path != "/" and separator == "/":
            above = "/"
        path = above if above != path else ""


def _inside(folder: str, project: str) -> bool:
    """Whether a folder lies in a project, whatever links lead there."""
    real, top = _spellings(folder)[-1], _spellings(project)[-1]
    return top in _upwards(real)


def _matching(rules: Sequence[tuple[str, ...]], words: Sequence[str]) -> str:
    """The first rule that a command begins with."""
    return next((shlex.join(rule) for rule in rules if rule and tuple(words[: len(rule)]) == rule), "")


def _sole_command(text: str) -> list[str]:
    """The words of a command that is nothing but words; none where a shell could make more of it."""
    words = _split(text)
    if words and len(words) == 3 and words[1] in ("-c", "-lc") and _is_shell(words[0], SHELL_FOLDERS):
        text = words[2]
    return [] if _SYNTAX.search(text) else _split(text) or []


def _commands(text: str) -> Iterator[list[str]]:
    """The words of every simple command that may be in a text; rather one too many than one too few."""
    words = _split(text)
    if words and len(words) >= 3 and _is_shell(words[0]) and re.fullmatch("-[a-z]*c[a-z]*", words[1]):
        yield words
        yield from _commands(words[2])
        return
    # As a shell takes it apart, and once more as if nothing in it were quoted: quotes may hold commands themselves.
    for whole in (text, re.sub(r"[\"'\\]", " ", text)):
        for part in _BETWEEN.split(whole):
            found = _split(part)
            if found is None:
                found = re.sub(r"[\"']", " ", part).split()
            yield from _bare(found)


def _bare(words: list[str]) -> Iterator[list[str]]:
    """A simple command without what stands before it."""
    start = 0
    while start < len(words) and _ASSIGNMENT.match(words[start]):
        start += 1
    # After sudo and its like, where the command begins depends on their options: any word may be the first.
    is_led = start < len(words) and LEADING.fullmatch(words[start]) is not None
    for index in range(start, len(words) if is_led else min(start + 1, len(words))):
        found = words[index : index + MOST_WORDS]
        yield found
        yield [posixpath.basename(found[0]), *found[1:]]
        if _is_shell(found[0]) and "-c" in found[1:-1]:
            yield from _commands(found[found.index("-c") + 1])


def _is_shell(word: str, folders: frozenset[str] | None = None) -> bool:
    folder, _, name = word.rpartition("/")
    return name in SHELLS and (folders is None or (folder in folders and word != f"/{name}"))


def _split(text: str) -> list[str] | None:
    """Words as a shell splits them; None where quotes are left open."""
    try:
        return shlex.split(text)
    except ValueError:
        return None


def _words(rule: str) -> tuple[str, ...]:
    return tuple(_split(rule) or rule.split())[:MOST_WORDS]
