"""Messages that want to take over the page of whoever reads them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser import hostile
from tests.browser.conftest import Post
from tests.support.browser import Pages
from tests.support.hub import HubProcess

ACTIVE = "script, img, iframe, style, form, svg, math, object, embed, link, meta, base, video, audio, template, input"
ACTING = """elements => elements.flatMap((element) => element.getAttributeNames())
    .filter((name) => /^on|^style$|^src|^action$|^form|^xlink|^ping$|^background$|^poster$|^autofocus$/.test(name))"""
LINKS = "links => links.map((link) => link.protocol)"


@pytest.fixture
def page(new_page: Pages) -> Iterator[Page]:
    """A page without the security policy, so that a text which gets through acts. It fails if one does, and the
    fixture below it fails on every request that leaves the hub."""
    page = new_page(bypass_csp=True)
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    yield page
    assert dialogs == []


def check(page: Page, where: str) -> None:
    """Nothing in this part of the page acts or leads to where no link of a message may lead."""
    part = page.locator(where)
    assert part.locator(ACTIVE).count() == 0
    assert part.locator("*").evaluate_all(ACTING) == []
    assert set(part.locator("a").evaluate_all(LINKS)) <= {"http:", "https:", "mailto:"}
    assert part.locator(".body a:not([rel~=noopener])").count() == 0


@pytest.fixture
def corpus(place: str, post: Post) -> list[int]:
    """The ids of all hostile texts, from hostile senders. Each answers the one before, so each is quoted too."""
    ids = [post("first")]
    for number, text in enumerate(hostile.TEXTS):
        ids.append(post(text, reply_to=ids[-1], sender=hostile.NAMES[number % len(hostile.NAMES)]))
    return ids


def test_no_message_quote_or_search_runs_script_or_calls_out(
    live_hub: HubProcess, place: str, corpus: list[int], page: Page
) -> None:
    """The newest come with the page, the others as its older part."""
    page.goto(f"{live_hub.url}/channels/{place}")
    while page.locator("#messages > article").count() < len(corpus):
        with page.expect_response("**before=*"):
            page.evaluate("scrollTo(0, 0)")
        expect(page.locator("#older-status")).to_have_text("")
    check(page, "#messages")
    assert page.locator("#messages > article .answered").count() == len(hostile.TEXTS)
    page.get_by_role("link", name=f"Reply to #{corpus[1]}", exact=True).click()
    expect(page.locator("#replying-to")).to_contain_text(f"Replying to #{corpus[1]}")
    assert page.locator("#replying-to *").count() == 0

    page.goto(f"{live_hub.url}/search?q=alert&target={place}")
    seen = page.locator(".result").count()
    check(page, ".results")
    older = page.get_by_role("link", name="Older results")
    while older.count():
        older.click()
        check(page, ".results")
        seen += page.locator(".result").count()
        assert page.locator(".result mark").count() >= page.locator(".result").count()
    assert seen > 150


def test_no_message_that_comes_later_runs_script_or_calls_out(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    page.goto(f"{live_hub.url}/channels/{place}")
    for text in hostile.TEXTS[::2]:
        last = post(text)

    expect(page.locator(f"#m{last}")).to_be_visible()
    check(page, "#messages")


def test_a_hostile_name_is_only_a_name(live_hub: HubProcess, place: str, post: Post, page: Page) -> None:
    # All tests' channels stand in one list, so each of these needs a name of its own that begins as it should.
    channels = {name if name == ".." else f"{name}{place}": name for name in hostile.NAMES}
    ids = {channel: post("inside", target=channel, sender=name) for channel, name in channels.items()}
    page.goto(f"{live_hub.url}/channels/{place}")

    for channel, name in channels.items():
        page.get_by_role("navigation", name="Channels").get_by_text(channel, exact=True).click()
        expect(page.locator("main h2")).to_contain_text(channel)
        expect(page.locator(f"#m{ids[channel]} h3")).to_have_text(name)
        expect(page.get_by_label("Channel", exact=True)).to_have_value(channel)
        check(page, "#messages")
        check(page, "#channels nav")
    live = post("inside too", target=channel)
    expect(page.locator(f"#m{live}")).to_contain_text("inside too")


@pytest.mark.parametrize("name", ["..", "a/../b?c=d#e&f", '"><b>'])
def test_a_message_for_a_hostile_name_leads_there(live_hub: HubProcess, place: str, page: Page, name: str) -> None:
    page.goto(f"{live_hub.url}/channels/{place}")
    page.get_by_label("Channel", exact=True).fill(name)
    page.get_by_label("Message", exact=True).fill("from outside")
    page.get_by_role("button", name="Send").click()

    page.locator("#status a").click()

    expect(page.locator("main h2")).to_contain_text(name)
    expect(page.locator("#messages article").last).to_contain_text("from outside")
