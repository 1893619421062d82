"""Colours for code blocks, as classes that static/css/code.css knows. Work is bounded whatever the block holds."""

import re
import time
from collections.abc import Iterable, Iterator
from html import escape
from io import StringIO
from typing import TypeVar

from markupsafe import Markup
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from app.ui import diff

MAX_CHARS = 50_000
"""Longer blocks stay plain: nobody reads so much in a chat, and each character costs a microsecond or ten."""

_NAMES = """
bash c c++ console cpp cs csharp css dart docker dockerfile elixir erlang go golang graphql groovy haskell hcl html http
ini java javascript js json jsx kotlin lua make makefile markdown md nginx nix objective-c ocaml perl php
postgresql powershell proto protobuf ps1 pwsh py pycon pytb python python3 r rb rs rst ruby rust scala scss sh shell sql
swift terraform tex toml ts tsx typescript vim vue xml yaml yml zig zsh
"""
LANGUAGES = frozenset(_NAMES.split())
"""What agents write. A closed list, because some lexers for rarer languages never end on hostile input."""

DIFF_LANGUAGES = ("diff", "patch", "udiff")
DIFF_STARTS = re.compile(r"diff --git |Index: |--- a/|--- .*\n\+\+\+ ")
DIFF_CLASSES = (
    (("+++", "---", "diff ", "index ", "Index: "), "gh"),
    (("@@",), "gu"),
    (("+",), "gi"),
    (("-",), "gd"),
)
MOST_OPEN_LINES = 400
"""A file with more changes begins closed, so that the others are found."""

COPY = '<button class="copy" type="button" aria-live="polite">Copy</button>'

T = TypeVar("T")


def block(code: str, language: str, deadline: float) -> str:
    """A block of code or a diff as HTML. Its `<code>` elements together hold the very text, for the copy button."""
    if language in DIFF_LANGUAGES or (not language and DIFF_STARTS.match(code)):
        if found := diff.parse(code):
            preamble = _pre(escape(found.preamble)) if found.preamble else ""
            return f'<div class="code diff">{COPY}{preamble}{"".join(map(_file, found.files))}</div>\n'
        colours = escape(code) if len(code) > MAX_CHARS else "".join(map(_diff_line, code.splitlines(keepends=True)))
    else:
        colours = highlight(code, language, deadline)
    return f'<div class="code">{COPY}{_pre(colours)}</div>\n'


def diff_block(text: str) -> Markup:
    """A diff as HTML; whatever else the text is, as a block of code."""
    return Markup(block(text, "diff", time.monotonic()))  # noqa: S704


def highlight(code: str, language: str, deadline: float) -> str:
    """Code in colours. Plain text where the language is unknown or `deadline` (monotonic seconds) passes."""
    if language not in LANGUAGES or len(code) > MAX_CHARS:
        return escape(code)
    tokens = get_lexer_by_name(language, stripnl=False, ensurenl=False).get_tokens(code)
    html = StringIO()
    try:
        HtmlFormatter[str](nowrap=True).format(_until(deadline, tokens), html)
    except TimeoutError:
        return escape(code)
    return html.getvalue()


def _pre(html: str) -> str:
    return f"<pre><code>{html}</code></pre>"


def _until(deadline: float, tokens: Iterable[T]) -> Iterator[T]:
    for token in tokens:
        if time.monotonic() > deadline:
            raise TimeoutError
        yield token


def _diff_line(line: str) -> str:
    """Each line is a block of its own, so that its colour reaches the edge."""
    for starts, name in DIFF_CLASSES:
        if line.startswith(starts):
            return f'<span class="{name}">{escape(line)}</span>'
    return f"<span>{escape(line)}</span>"


def _file(file: diff.File) -> str:
    """One file of a diff: its title, which folds it, and its lines with their numbers."""
    counts = [(file.count(diff.Kind.ADDED), "gi", "+"), (file.count(diff.Kind.REMOVED), "gd", "−")]
    facts = [f'<span class="change">{change}</span>' for change in file.changes]
    facts += [f'<span class="{name}">{sign}{count}</span>' for count, name, sign in counts if count]
    title = f"<bdi>{escape(file.title or 'Changes')}</bdi>"
    width = len(str(max(max(line.old or 0, line.new or 0) for line in file.lines)))
    lines = "".join(_numbered(line, width) for line in file.lines)
    # A diff that grows is told from its earlier self file by file.
    start = f'<details data-key="{escape(file.title)}"{" open" if len(file.lines) <= MOST_OPEN_LINES else ""}>'
    return f"{start}<summary>{title} {' '.join(facts)}</summary>{_pre(lines)}</details>"


def _numbered(line: diff.Line, width: int) -> str:
    """The numbers are an attribute, which nobody copies by selecting the text."""
    kind = f' class="{line.kind}"' if line.kind else ""
    numbers = f"{line.old or '':>{width}} {line.new or '':>{width}}"
    return f'<span{kind} data-n="{numbers}">{escape(line.text)}</span>'
