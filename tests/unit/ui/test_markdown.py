"""Markdown of strangers: what it may become, and what it must never."""

import re
import time
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygments.lexers import get_lexer_by_name

from app.ui import markdown
from app.ui.code import LANGUAGES, highlight
from app.ui.markdown import Markdown
from tests.browser import hostile

_TAGS = """
a bdi blockquote br button code del details div em h4 h5 h6 hr li ol p pre s span strong summary table tbody td th thead
tr ul
"""
TAGS = set(_TAGS.split())
ATTRIBUTES = {"aria-live", "class", "data-key", "data-n", "href", "open", "rel", "start", "target", "title", "type"}


class Inspector(HTMLParser):
    """Notes every tag, and fails on those that no message may bring."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        for name, value in attrs:
            assert name != "href" or str(value).lower().startswith(("http://", "https://", "mailto:"))


def tags(html: str) -> list[str]:
    inspector = Inspector()
    inspector.feed(html)
    inspector.close()
    return inspector.tags


@pytest.fixture(scope="module")
def parser() -> Markdown:
    return Markdown()


@pytest.mark.parametrize("text", hostile.TEXTS)
def test_hostile_markdown_brings_no_tag_attribute_or_address_that_acts(parser: Markdown, text: str) -> None:
    assert "script" not in tags(parser.render(text))


PIECES = [
    "<",
    ">",
    "[",
    "]",
    "(",
    ")",
    "!",
    "`",
    "```",
    "*",
    "_",
    "~~",
    "|",
    "-",
    "#",
    "\n",
    " ",
    '"',
    "'",
    "&",
    ":",
    "/",
]
PIECES += ["javascript:", "https://x", "img src=x onerror=y", "script", "diff", "&#106;", "\\", "a"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_mixture_of_markdown_and_html_brings_one_either(text: str) -> None:
    tags(Markdown().render(text))


def test_usual_markdown_becomes_usual_html(parser: Markdown) -> None:
    html = parser.render("**b** *e* ~~s~~ `c`\nnext line\n\n- item\n\n> quote\n\n|a|b|\n|-|-:|\n|1|2|")

    assert {"strong", "em", "s", "code", "br", "li", "blockquote", "table"} <= set(tags(html))
    assert '<td class="to-right">2</td>' in html


def test_headings_of_a_message_stand_below_those_of_the_page(parser: Markdown) -> None:
    assert tags(parser.render("# a\n## b\n### c\n###### d")) == ["h4", "h5", "h6", "h6"]


def test_links_open_outside_and_tell_the_target_nothing(parser: Markdown) -> None:
    html = parser.render("[x](https://example.com)")

    assert '<a href="https://example.com" rel="noopener noreferrer nofollow" target="_blank">x</a>' in html


@pytest.mark.parametrize(
    ("text", "address", "rest"),
    [
        ("see https://example.com/a.", "https://example.com/a", "."),
        ("(https://example.com/a_(b))", "https://example.com/a_(b)", ")"),
        ("https://example.com/?a=1&b=2, or", "https://example.com/?a=1&amp;b=2", ", or"),
        ("HTTP://EXAMPLE.COM!", "HTTP://EXAMPLE.COM", "!"),
    ],
)
def test_a_bare_address_becomes_a_link_without_the_sentence_around_it(
    parser: Markdown, text: str, address: str, rest: str
) -> None:
    assert f'target="_blank">{address}</a>{rest}' in parser.render(text)


def test_an_address_in_code_stays_code(parser: Markdown) -> None:
    assert "a" not in tags(parser.render("`https://example.com`"))


def test_an_image_is_a_link_with_its_description(parser: Markdown) -> None:
    html = parser.render("![a chart](https://example.com/x.png)")

    assert 'href="https://example.com/x.png"' in html
    assert ">a chart</a>" in html


def test_an_image_inside_a_link_does_not_cut_the_link_in_two(parser: Markdown) -> None:
    assert tags(parser.render("[![x](https://a.example/i.png)](https://b.example)")) == ["p", "a"]


def test_a_diff_has_added_and_removed_lines(parser: Markdown) -> None:
    html = parser.render("```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old <b>\n+new\n same\n```")

    assert "<bdi>x</bdi>" in html
    assert '<span class="gd" data-n="1  ">-old &lt;b&gt;\n</span><span class="gi" data-n="  1">+new\n</span>' in html


def test_a_diff_without_its_form_has_coloured_lines(parser: Markdown) -> None:
    html = parser.render("```diff\n-old <b>\n+new\n same\n```")

    assert '<span class="gd">-old &lt;b&gt;\n</span><span class="gi">+new\n</span><span> same\n</span>' in html


@pytest.mark.parametrize("fence", ["```diff\n{}```", "```patch\n{}```", "```\n{}```"])
def test_code_together_is_the_text_to_the_letter(parser: Markdown, fence: str) -> None:
    for text in ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-<b>\n+\t&amp;\n", "-a\n\n+b\x0c\n", "Index: a\n+b\n", "x\n"):
        html = parser.render(fence.format(text))
        parts = re.findall(r"<code>(.*?)</code>", html, re.DOTALL)
        assert unescape(re.sub("<[^>]*>", "", "".join(parts))) == text


def test_a_diff_is_known_without_its_name(parser: Markdown) -> None:
    assert 'class="gi"' in parser.render("```\ndiff --git a/x b/x\n+new\n```")


def test_code_has_colours_by_its_language(parser: Markdown) -> None:
    assert '<span class="k">def</span>' in parser.render("```python\ndef f(): pass\n```")
    assert "<span" not in parser.render("```unheard-of\ndef f(): pass\n```")


def test_code_stays_plain_when_its_time_is_over() -> None:
    assert highlight("a < b", "python", time.monotonic() - 1) == "a &lt; b"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_language_that_is_offered_is_known(language: str) -> None:
    assert get_lexer_by_name(language)


def test_a_huge_text_is_shown_as_it_is(parser: Markdown) -> None:
    assert parser.render("<b>" * markdown.MAX_CHARS) == f'<div class="plain">{"&lt;b&gt;" * markdown.MAX_CHARS}</div>'


def test_a_text_that_breaks_the_parser_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RecursionError

    monkeypatch.setattr(markdown, "block", broken)

    assert Markdown().render("```\n<x>\n```") == '<div class="plain">```\n&lt;x&gt;\n```</div>'
