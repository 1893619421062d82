"""Short pieces of long texts: the first words of a message, and the place where a search has found something."""

import re
from typing import NamedTuple

from app.storage.search import Term

WORDS_CHARS = 120
EXCERPT_CHARS = 320
BEFORE_CHARS = 80
"""What stands before the first match."""
SEARCHED_CHARS = 100_000
"""The beginning of a text that is looked through again to mark its matches."""

_MARKS = re.compile(r"^(?:\s|>|\||#+\s|[*+-]\s|\d+[.)]\s)+")
_FENCE = re.compile(r"\s*(?:`{3}|~{3})")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+")


class Piece(NamedTuple):
    text: str
    is_match: bool


def first_words(text: str) -> str:
    """The first line that says something, without the marks of a heading, a list or a quotation before it."""
    for line in text[: 20 * WORDS_CHARS].splitlines():
        words = _MARKS.sub("", line).strip()
        if words.strip("-*_=|: ") and not _FENCE.match(line):
            return words if len(words) <= WORDS_CHARS else f"{words[: WORDS_CHARS - 1].rstrip()}…"
    return "…"


def quote(text: str) -> str:
    """The text as a quotation in Markdown, and room for an answer."""
    return "".join(f"> {line}".rstrip() + "\n" for line in text.splitlines()) + "\n"


def excerpt(text: str, terms: list[Term]) -> list[Piece]:
    """The text around the first match, on one line, in pieces that tell what matches."""
    text = text[:SEARCHED_CHARS]
    pattern = _pattern(terms)
    first = pattern.search(text)
    start = max(first.start() - BEFORE_CHARS, 0) if first else 0
    if start:
        start = text.find(" ", start, first.start() if first else None) + 1 or start
    shown = _SPACE.sub(" ", text[start : start + EXCERPT_CHARS]).strip()
    pieces = [Piece("… ", is_match=False)] if start else []
    end = 0
    for match in pattern.finditer(shown):
        pieces += [Piece(shown[end : match.start()], is_match=False), Piece(match[0], is_match=True)]
        end = match.end()
    is_cut = start + EXCERPT_CHARS < len(text)
    return [*pieces, Piece(shown[end:] + (" …" if is_cut else ""), is_match=False)]


def _pattern(terms: list[Term]) -> re.Pattern[str]:
    """Words end where the search index ends them: at all but letters and digits."""
    found = []
    for term in terms:
        words = r"[\W_]+".join(map(re.escape, _WORD.findall(term.text)))
        found.append(words + (r"[^\W_]*" if term.is_prefix else ""))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(found)})(?![^\W_])", re.IGNORECASE)
