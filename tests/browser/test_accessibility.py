"""The pages for those who use no mouse or no screen, and in both colours and on small screens for all."""

from unittest.mock import ANY

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Post
from tests.browser.test_code import DIFF
from tests.support.browser import Pages, axe_problems
from tests.support.hub import HubProcess

TEXT = f"""\
# Title

- **item** with `code` and [a link](https://example.com)

> quoted

| a | b |
|---|--:|
| 1 | {"wide " * 60} |

```python
def f(): return "{"long " * 60}"  # {"comment " * 20}
```

```diff
{DIFF}```
"""


def problems_of(page: Page, width: int) -> list[str]:
    """In light; of the colours, which no width changes, in dark as well."""
    page.emulate_media(color_scheme="light")
    found = axe_problems(page)
    if width == 1280:
        page.emulate_media(color_scheme="dark")
        found += axe_problems(page, "color-contrast")
    return found


@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_serious_on_any_page(
    live_hub: HubProcess, place: str, post: Post, new_page: Pages, width: int
) -> None:
    message_id = post(TEXT)
    post("short", sender="codex", reply_to=message_id)
    page = new_page(viewport={"width": width, "height": 800})
    page.goto(f"{live_hub.url}/channels/{place}")
    post("unread", target=f"{place}-0")
    expect(page.locator("#channels [data-unread='1']")).to_have_count(1)
    page.get_by_label("Message", exact=True).fill("x")
    page.get_by_label("Channel", exact=True).fill(f"{place}-0")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#status a")).to_be_visible()
    page.locator(f"#m{message_id}").hover()
    found = {"unread and sent": problems_of(page, width)}

    for path in (
        f"/channels/{place}?at={message_id}#m{message_id}",
        f"/channels/{place}?reply={message_id}",
        f"/channels/{place}-new",
        f"/search?q={place}+none",
        "/search?q=wide",
        "/dispatches",
        "/docs",
    ):
        page.goto(live_hub.url + path)
        expect(page.locator("main h2")).to_be_visible()
        found[path] = problems_of(page, width)
    # That it finds anything at all:
    page.locator("html").evaluate("html => html.removeAttribute('lang')")
    found["control"] = axe_problems(page)

    assert {path: problems for path, problems in found.items() if problems} == {"control": [ANY]}


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    live_hub: HubProcess, place: str, post: Post, new_page: Pages
) -> None:
    post("one")
    last = post("two")
    page = new_page()
    page.goto(f"{live_hub.url}/channels/{place}")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")

    names = []
    while page.evaluate("document.activeElement.id") != "send" and len(names) < 40:
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent.trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", names
        assert page.evaluate("document.activeElement.checkVisibility({ opacityProperty: true })"), names

    assert names[0] == "Reload"
    wanted = [f"#{last}", f"Reply to #{last}", f"Quote #{last}"]
    assert [name for name in names if name in wanted] == wanted
    assert names[-1] == "Send"


def test_a_screen_reader_is_told_what_comes(live_hub: HubProcess, place: str, post: Post, new_page: Pages) -> None:
    page = new_page()
    page.goto(f"{live_hub.url}/channels/{place}")
    log = page.get_by_role("log", name="Messages")
    message_id = post("said", sender="codex")

    expect(log.get_by_role("article", name="codex")).to_contain_text("said")
    expect(log.get_by_role("heading", name="codex", level=3)).to_be_visible()
    expect(page.get_by_role("form", name="New message")).to_be_visible()
    expect(page.get_by_role("search")).to_be_visible()
    page.get_by_role("link", name=f"Reply to #{message_id}", exact=True).click()
    expect(page.get_by_label("Message", exact=True)).to_have_accessible_description(
        f"Replying to #{message_id} codex: said"
    )
