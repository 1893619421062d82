"""Names of channels in addresses."""

from urllib.parse import unquote, urljoin

import pytest

from app.errors import BadRequest, NotFound
from app.ui.addresses import channel_name, channel_url, cursor

NAMES = [
    "proj-x",
    "a b",
    "a/b",
    "/a",
    "a//b",
    "?",
    "#1",
    "100%",
    "%2F",
    "ü✨",
    "..",
    ".",
    "a/../b",
    "a&b=c;d",
    "\\",
    '"<>',
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_comes_back_from_its_address(name: str) -> None:
    url = channel_url(name)

    assert url.isascii()
    assert channel_name(unquote(url.removeprefix("/channels/"))) == name


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_a_browser_out_of_the_channels(name: str) -> None:
    assert urljoin("http://hub/dispatches", channel_url(name)).startswith("http://hub/channels/")
    assert channel_url(name).count("/") == 2


def test_a_name_that_no_database_takes_is_not_found() -> None:
    with pytest.raises(NotFound):
        channel_name("a\0b")


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "９", "9" * 19, "1e3", " 1"])
def test_a_cursor_is_a_whole_number(text: str) -> None:
    with pytest.raises(BadRequest, match="before must be a whole number"):
        cursor("before", text)


def test_no_cursor_is_none() -> None:
    assert cursor("before", None) is None
    assert cursor("before", "12") == 12
