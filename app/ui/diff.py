"""Unified diffs, of git and plain, taken apart into files and hunks.

Agents write diffs by hand, so a hunk's counts may be wrong and its numbers missing; all else must be in form.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

MAX_LINES = 5_000
MAX_FILES = 200
"""Larger ones stay as they are: a browser would labour on them, and nobody reads them in a chat."""

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_FILE = ("diff -", "Index: ")
_CHANGES = {
    "new file mode ": "new",
    "deleted file mode ": "deleted",
    "rename from ": "renamed",
    "copy from ": "copied",
    "Binary files ": "binary",
    "GIT binary patch": "binary",
}
_HEAD = ("=====", "index ", "similarity ", "dissimilarity ", "new file ", "deleted file ", "rename ", "copy ")
SIGNATURE = "-- \n"
"""Ends a patch that came by mail; it looks like a removed line."""

_ESCAPED = re.compile(rb'\\([0-3][0-7]{2}|["\\])')


class Kind(StrEnum):
    """What a line is. The values are classes in static/css/code.css."""

    HEAD = "gh head"
    """Says what the file's title says."""
    NOTE = "gh"
    HUNK = "gu"
    ADDED = "gi"
    REMOVED = "gd"
    CONTEXT = ""


class Line(NamedTuple):
    """A line with its end, and its number in each version of the file that has it."""

    kind: Kind
    text: str
    old: int | None = None
    new: int | None = None


@dataclass
class File:
    """What happens to one file. A bare hunk is a file without names."""

    old: str = ""
    new: str = ""
    changes: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @property
    def title(self) -> str:
        moved = self.old and self.new and {"renamed", "copied"}.intersection(self.changes)
        return f"{self.old} → {self.new}" if moved else self.new or self.old

    def count(self, kind: Kind) -> int:
        return sum(line.kind is kind for line in self.lines)

    def change(self, name: str) -> None:
        if name not in self.changes:
            self.changes.append(name)


class Diff(NamedTuple):
    """The preamble and the texts of all lines, one after the other, are the text that was parsed."""

    preamble: str
    files: list[File]


def parse(text: str) -> Diff | None:
    """None where the text is not in the form of a diff, or too large."""
    return None if text.count("\n") > MAX_LINES else _Reader(_LINES.findall(text)).read()


class _Reader:
    """Goes through the lines once."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._preamble: list[str] = []
        self._files: list[File] = []
        self._in_hunk = False
        self._next: tuple[int, int] | None = None
        """The numbers of the hunk's next line, old and new."""
        self._left = [0, 0]
        """How many lines the hunk still promises, old and new."""
        self._old_name: str | None = None
        """Of the two lines that name a file, the first has come."""
        self._is_settled = False
        """The present file has its names or a hunk: other names begin another file."""

    def read(self) -> Diff | None:
        for index, line in enumerate(self._lines):
            if line.startswith(_FILE):
                self._begin(*_git_names(line))
                self._add(Kind.HEAD, line)
            elif self._old_name is not None:
                self._name(self._old_name, _name(line, "b/"))
                self._add(Kind.HEAD, line)
            elif self._names_begin(index):
                if self._is_settled or not self._files:
                    self._begin()
                self._old_name = _name(line, "a/")
                self._add(Kind.HEAD, line)
            elif not (self._hunk_begins(line) or (self._in_hunk and self._take(line)) or self._describe(line)):
                return None
        is_diff = any(len(file.lines) > file.count(Kind.HEAD) or file.changes for file in self._files)
        return Diff("".join(self._preamble), self._files) if is_diff and len(self._files) <= MAX_FILES else None

    def _begin(self, old: str = "", new: str = "") -> None:
        self._files.append(File(old, new))
        self._in_hunk = self._is_settled = False

    def _add(self, kind: Kind, line: str, old: int | None = None, new: int | None = None) -> None:
        self._files[-1].lines.append(Line(kind, line, old, new))

    def _names_begin(self, index: int) -> bool:
        """Whether this line and the next name a file, and are not a removed and an added line that look so."""
        first, second, third = (*self._lines[index : index + 3], "", "")[:3]
        if not (first.startswith("--- ") and second.startswith("+++ ")):
            return False
        is_promised = self._in_hunk and max(self._left) > 0
        return not is_promised or (self._left != [1, 1] and _HUNK.match(third) is not None)

    def _name(self, old: str, new: str) -> None:
        file = self._files[-1]
        file.old, file.new = old, new
        if not old:
            file.change("new")
        if not new:
            file.change("deleted")
        self._old_name, self._is_settled = None, True

    def _hunk_begins(self, line: str) -> bool:
        match = _HUNK.match(line)
        if match:
            old, old_count, new, new_count = match.groups(default="1")
            self._next = int(old), int(new)
            self._left = [int(old_count), int(new_count)]
            if not self._files:
                self._begin()
        elif self._files and line.startswith(("@@ ", "@@\n")):
            self._next = None
            self._left = [0, 0]
        else:
            return False
        self._in_hunk = self._is_settled = True
        self._add(Kind.HUNK, line)
        return True

    def _take(self, line: str) -> bool:
        """Add a line of the hunk; False where the hunk has ended before it."""
        is_over = self._next is not None and max(self._left) <= 0
        if line[0] == "\\" or (is_over and line == "\n"):
            self._add(Kind.NOTE, line)
            return True
        kind = {"+": Kind.ADDED, "-": Kind.REMOVED, " ": Kind.CONTEXT, "\n": Kind.CONTEXT}.get(line[0])
        if kind is None or (is_over and line == SIGNATURE):
            self._in_hunk = False
            return False
        if self._next is None:
            self._add(kind, line)
            return True
        (old, new), in_old, in_new = self._next, kind is not Kind.ADDED, kind is not Kind.REMOVED
        self._add(kind, line, old if in_old else None, new if in_new else None)
        self._next = old + in_old, new + in_new
        self._left = [self._left[0] - in_old, self._left[1] - in_new]
        return True

    def _describe(self, line: str) -> bool:
        """Add a line that stands outside of hunks; False where none can stand like this."""
        if not self._files:
            self._preamble.append(line)
            return True
        file = self._files[-1]
        for start, change in _CHANGES.items():
            if line.startswith(start):
                file.change(change)
        if line.startswith(("rename from ", "copy from ")):
            file.old = _name(line.partition(" from")[2], "")
        elif line.startswith(("rename to ", "copy to ")):
            file.new = _name(line.partition(" to")[2], "")
        self._add(Kind.HEAD if line.startswith(_HEAD) else Kind.NOTE, line)
        return line == SIGNATURE or not line.startswith(("+", "-", "@@"))


def _name(line: str, prefix: str) -> str:
    """The file that a line like `--- a/name` names; empty for none."""
    name = line.rstrip("\n").partition(" ")[2].partition("\t")[0]
    if len(name) > 1 and name[0] == name[-1] == '"':
        # Git writes what is not ASCII in octal.
        bare = _ESCAPED.sub(lambda match: match[1] if len(match[1]) == 1 else bytes([int(match[1], 8)]), name.encode())
        name = bare[1:-1].decode(errors="replace")
    return "" if name == "/dev/null" else name.removeprefix(prefix)


def _git_names(line: str) -> tuple[str, str]:
    """The names in `diff --git a/name b/name`: all there is where a file has no lines that changed."""
    names = line.rstrip("\n").removeprefix("diff --git ")
    middle = len(names) // 2
    old, new = names[:middle], names[middle + 1 :]
    if old.startswith("a/") and new.startswith("b/") and old[2:] == new[2:]:
        return old[2:], new[2:]
    return "", line.rstrip("\n").rpartition(" ")[2].removeprefix("b/")
