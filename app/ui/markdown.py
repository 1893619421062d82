"""Markdown of strangers as safe HTML: nothing raw, nothing loaded, links to http, https and mailto alone."""

import logging
import re
import time
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markupsafe import Markup

from app.ui.code import block

logger = logging.getLogger("relay_hub")

MAX_CHARS = 200_000
"""Longer texts are shown as they are: parsing costs about 6 ms for each 1,000 characters."""
HIGHLIGHT_SEC = 0.5
"""What the code blocks of one text may cost together; the rest of them stays plain."""

LINK = {"rel": "noopener noreferrer nofollow", "target": "_blank"}
_SAFE = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_BARE = re.compile(r"\bhttps?://[^\s<>\"'`]+", re.IGNORECASE)


class Markdown:
    """The parser, set up once."""

    def __init__(self) -> None:
        self._parser = _Parser("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
        self._parser.core.ruler.push("relay_hub", _adapt)
        self._parser.add_render_rule("fence", _code)
        self._parser.add_render_rule("code_block", _code)
        self._parser.add_render_rule("table_open", lambda *_: '<div class="table"><table>\n')
        self._parser.add_render_rule("table_close", lambda *_: "</table></div>\n")

    def render(self, text: str) -> Markup:
        """Safe HTML for any text; never raises."""
        if len(text) <= MAX_CHARS:
            try:
                return Markup(self._parser.render(text, {"deadline": time.monotonic() + HIGHLIGHT_SEC}))  # noqa: S704
            except Exception:
                # A text that breaks the parser must not take its whole channel down with it.
                logger.exception("A text of %d characters could not be rendered", len(text))
        return Markup('<div class="plain">{}</div>').format(text)


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the parser's own name
        """Relative links too are refused: a message has no place that they could be relative to."""
        return _SAFE.match(url) is not None


def _adapt(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline":
            token.children = list(_inline(state.md, token.children or []))
        elif token.type in ("heading_open", "heading_close"):
            # The page's own headings end at level 3.
            token.tag = f"h{min(int(token.tag[1:]) + 3, 6)}"
        elif "style" in token.attrs:
            # Aligned columns; the page's security policy allows no inline style.
            token.attrs = {"class": str(token.attrs["style"]).replace("text-align:", "to-")}


def _inline(parser: MarkdownIt, tokens: Iterable[Token]) -> Iterator[Token]:
    """Images become links, bare addresses too; but a link inside a link would be cut in two by browsers."""
    in_link = False
    for token in tokens:
        if token.type == "link_open":
            in_link = True
            token.attrs.update(LINK)
        elif token.type == "link_close":
            in_link = False
        if token.type == "image":
            source = str(token.attrs["src"])
            text = token.content or source
            yield from [_text(text)] if in_link else _link(source, text)
        elif token.type == "text" and not in_link:
            yield from _linked(parser, token.content)
        else:
            yield token


def _linked(parser: MarkdownIt, text: str) -> Iterator[Token]:
    end = 0
    for match in _BARE.finditer(text):
        address = _trimmed(match[0])
        yield _text(text[end : match.start()])
        yield from _link(parser.normalizeLink(address), address)
        end = match.start() + len(address)
    yield _text(text[end:])


def _trimmed(address: str) -> str:
    """Without the punctuation of the sentence around it; a closing bracket stays where its opening one is inside."""
    while address[-1] in ".,;:!?)]}*_~|" and not (address[-1] == ")" and address.count("(") >= address.count(")")):
        address = address[:-1]
    return address


def _link(url: str, text: str) -> list[Token]:
    return [Token("link_open", "a", 1, attrs={"href": url, **LINK}), _text(text), Token("link_close", "a", -1)]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _code(_: Any, tokens: Sequence[Token], index: int, _options: Any, env: MutableMapping[str, Any]) -> str:
    token = tokens[index]
    language = (token.info.split(maxsplit=1) or [""])[0].lower()
    return block(token.content, language, env["deadline"])
