"""Pieces of texts."""

import pytest

from app.storage.search import terms
from app.ui import excerpts
from app.ui.excerpts import excerpt, first_words, quote


def marked(text: str, query: str) -> str:
    return "".join(f"[{piece.text}]" if piece.is_match else piece.text for piece in excerpt(text, terms(query)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one\ntwo", "one"),
        ("\n\n  ## A *title*\nx", "A *title*"),
        ("> > quoted", "quoted"),
        ("1. - [ ] first", "[ ] first"),
        ("```python\ncode()\n```", "code()"),
        ("---\n***\nafter the rule", "after the rule"),
        ("**bold** first", "**bold** first"),
        ("| a | b |\n|---|---|", "a | b |"),
        ("```", "…"),
        ("", "…"),
        ("-5 degrees", "-5 degrees"),
        ("#5 is fixed", "#5 is fixed"),
        ("日本語", "日本語"),
        ("- 👍", "👍"),
    ],
)
def test_the_first_words_are_words(text: str, words: str) -> None:
    assert first_words(text) == words


def test_the_first_words_are_few() -> None:
    assert first_words("word " * 1000) == ("word " * 24).rstrip() + "…"


def test_a_quotation_leaves_room_for_an_answer() -> None:
    assert quote("one\n\n  two\n") == "> one\n>\n>   two\n\n"


@pytest.mark.parametrize(
    ("text", "query", "found"),
    [
        ("a Retry here", "retry", "a [Retry] here"),
        ("retry, retrying", "retry", "[retry], retrying"),
        ("retry, retrying", "retry*", "[retry], [retrying]"),
        ("the upload-worker's key", '"upload worker" key', "the [upload-worker]'s [key]"),
        ("snake_case_name", "case", "snake_[case]_name"),
        ("worker.py failed", "worker.py", "[worker.py] failed"),
        ("a\n\n b\tc", "c", "a b [c]"),
        ("nothing", "else", "nothing"),
        ("Straße", "straße", "[Straße]"),
    ],
)
def test_what_matches_is_marked_as_the_search_matches(text: str, query: str, found: str) -> None:
    assert marked(text, query) == found


def test_a_long_text_is_shown_around_its_first_match() -> None:
    shown = marked("before " * 100 + "needle" + " after" * 100, "needle")

    assert shown.startswith("… before before")
    assert " [needle] after" in shown
    assert shown.endswith(" …")
    assert len(shown) < excerpts.EXCERPT_CHARS + 20


@pytest.mark.parametrize("text", ["a " * 500_000, "a" + " " * 1_000_000, "a_" * 500_000 + "b", "a" * 1_000_000])
def test_a_huge_text_has_a_short_excerpt(text: str) -> None:
    assert len(marked(text, '"a a a b" a* b')) < 4 * excerpts.EXCERPT_CHARS
