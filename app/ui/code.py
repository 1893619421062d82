"""Colours for code blocks, as classes that static/css/code.css knows. Work is bounded whatever the block holds."""

import time
from collections.abc import Iterable, Iterator
from html import escape
from io import StringIO
from typing import TypeVar

from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name

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
DIFF_STARTS = ("diff --git ", "Index: ", "--- a/")
DIFF_CLASSES = (
    (("+++", "---", "diff ", "index ", "Index: "), "gh"),
    (("@@",), "gu"),
    (("+",), "gi"),
    (("-",), "gd"),
)

T = TypeVar("T")


def highlight(code: str, language: str, deadline: float) -> str:
    """The HTML inside `<code>`. Plain text where the language is unknown or `deadline` (monotonic seconds) passes."""
    if language in DIFF_LANGUAGES or (not language and code.startswith(DIFF_STARTS)):
        return "".join(map(_diff_line, code.splitlines(keepends=True)))
    if language not in LANGUAGES or len(code) > MAX_CHARS:
        return escape(code)
    tokens = get_lexer_by_name(language, stripnl=False, ensurenl=False).get_tokens(code)
    html = StringIO()
    try:
        HtmlFormatter[str](nowrap=True).format(_until(deadline, tokens), html)
    except TimeoutError:
        return escape(code)
    return html.getvalue()


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
