"""What fits into one answer, and that nothing is lost where it does not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models import Message
from app.tools.answers import MOST_TEXT, fit, size

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)


def messages(texts: list[str], **fields: object) -> list[Message]:
    values = {"target": "c", "sender": "s", "source": "mcp"} | fields
    return [Message(id=number, ts=1795254214.6229513, text=text, **values) for number, text in enumerate(texts, 1)]  # type: ignore[arg-type]


@given(st.lists(TEXTS, max_size=8), st.integers(-1, 90))
def test_paging_shows_every_message_once_and_keeps_to_the_bound(texts: list[str], max_chars: int) -> None:
    left, seen = messages(texts), []
    while left:
        shown = fit(left, max_chars)
        seen += [part["id"] for part in shown.messages]
        sizes = [size(part["text"]) for part in shown.messages]
        assert sum(sizes) <= max_chars or [len(part["text"]) for part in shown.messages] == [1]
        left = left[len(shown.messages) :]

    assert seen == list(range(1, len(texts) + 1))


@given(TEXTS, st.integers(1, 90))
def test_the_parts_of_a_cut_text_make_up_the_text(text: str, max_chars: int) -> None:
    parts, offset = [], 0
    while True:
        (part,) = fit(messages([text]), max_chars, offset).messages
        parts.append(part["text"])
        offset += len(part["text"])
        assert part.get("text_length", len(text)) == len(text)
        assert ("rest" in part) is (offset < len(text))
        if "rest" not in part:
            break
        assert part["rest"] == f'fetch_messages(target="c", since_id=0, limit=1, text_offset={offset})'

    assert "".join(parts) == text


@given(st.lists(TEXTS, max_size=8), st.integers(1, 90))
def test_the_text_of_an_answer_is_its_payload(texts: list[str], max_chars: int) -> None:
    answer = fit(messages(texts), max_chars).answer(latest_id=5, has_more=True)

    assert json.loads(answer.text) == answer.payload


@pytest.mark.parametrize("text", ["x" * 50_000, "界" * 50_000, "\U0001f600" * 50_000, "\x01" * 50_000, '"' * 50_000])
def test_an_answer_is_small_enough_for_every_client_whatever_its_characters(text: str) -> None:
    long_names = {"target": "\U0001f600" * 200, "sender": "\\" * 200}
    for found in (messages([text], **long_names), messages(["\U0001f600"] * 200, **long_names)):
        answer = fit(found, 10**9).answer(latest_id=10**18, has_more=True)
        assert len(answer.text.encode()) < 48_000
        assert size(answer.payload["messages"][0]["text"]) <= MOST_TEXT


def test_two_hundred_short_messages_fit_into_one_answer() -> None:
    assert len(fit(messages(["a word or two"] * 200), MOST_TEXT).messages) == 200


@pytest.mark.parametrize("offset", [3, 99])
def test_past_the_end_of_a_text_there_is_nothing_and_no_rest(offset: int) -> None:
    (part,) = fit(messages(["abc"]), 1, offset).messages

    assert (part["text"], part["text_length"], "rest" in part) == ("", 3, False)


def test_an_offset_skips_in_the_first_text_alone() -> None:
    shown = fit(messages(["abc", "def"]), MOST_TEXT, 2).messages

    assert [part["text"] for part in shown] == ["c", "def"]
