"""How a piece of a page becomes its next version: what stays the same is not touched."""

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.hub import HubProcess

MORPH = """async ([before, after]) => {
  const { morph } = await import("/static/js/morph.js");
  const piece = (html) => Object.assign(document.createElement("div"), { innerHTML: html }).firstElementChild;
  const present = piece(before);
  document.body.append(present);
  const first = [...present.querySelectorAll("[data-mark]")];
  const text = present.querySelector("p")?.firstChild ?? present;
  getSelection().setBaseAndExtent(text, 0, text, text.length ?? 0);
  const selected = getSelection().toString();
  morph(present, piece(after));
  return {
    html: present.outerHTML,
    kept: first.filter((element) => element.isConnected).map((element) => element.dataset.mark),
    isSelected: getSelection().toString() === selected,
  };
}"""


@pytest.fixture
def morphed(live_hub: HubProcess, page: Page) -> Any:
    page.goto(f"{live_hub.url}/dispatches")
    return lambda before, after: page.evaluate(MORPH, [before, after])


def test_a_text_that_grows_keeps_its_selection(morphed: Any) -> None:
    found = morphed(
        "<div><p data-mark='p'>one</p></div>",
        "<div><p data-mark='p'>one two</p><p>three</p></div>",
    )

    assert found["isSelected"]
    assert found["kept"] == ["p"]
    assert found["html"] == '<div><p data-mark="p">one two</p><p>three</p></div>'


def test_what_is_open_stays_open_although_something_comes_before_it(morphed: Any) -> None:
    found = morphed(
        "<div><details data-key='b' data-mark='b' open=''>old</details></div>",
        "<div><details data-key='a'>first</details><details data-key='b' data-mark='b'>new</details></div>",
    )

    assert found["kept"] == ["b"]
    assert found["html"] == (
        '<div><details data-key="a">first</details><details data-key="b" data-mark="b" open="">new</details></div>'
    )


def test_what_is_closed_stays_closed(morphed: Any) -> None:
    found = morphed("<div><details>old</details></div>", "<div><details open=''>new</details></div>")

    assert found["html"] == "<div><details>new</details></div>"


def test_what_is_gone_goes_and_what_is_hidden_is_hidden(morphed: Any) -> None:
    found = morphed("<div><p>one</p><i>two</i><b>three</b></div>", "<div hidden=''><b class='x'>three</b></div>")
    assert found["html"] == '<div hidden=""><b class="x">three</b></div>'
    found = morphed("<div hidden=''></div>", "<div><b>text</b></div>")
    assert found["html"] == "<div><b>text</b></div>"


def test_a_time_in_the_readers_words_is_left_until_it_is_another_time(morphed: Any) -> None:
    local = "<div><time datetime='2026-01-01' title='2026-01-01'>New Year</time></div>"
    found = morphed(local, "<div><time datetime='2026-01-01'>2026-01-01</time></div>")
    assert "New Year" in found["html"]
    found = morphed(local, "<div><time datetime='2026-05-01'>2026-05-01</time></div>")
    assert found["html"] == '<div><time datetime="2026-05-01">2026-05-01</time></div>'
