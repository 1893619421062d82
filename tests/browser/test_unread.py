"""What a reader has not seen."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Post
from tests.support.browser import Pages
from tests.support.hub import HubProcess

LIVE_MS = 4000
HIDDEN = "Object.defineProperty(document, 'hidden', { configurable: true, get: () => window.isAway ?? false })"


@pytest.fixture
def page(new_page: Pages) -> Page:
    """A page that can be put into the background."""
    page = new_page()
    page.add_init_script(HIDDEN)
    return page


def go_away(page: Page, is_away: bool) -> None:
    page.evaluate("(is) => { isAway = is; document.dispatchEvent(new Event('visibilitychange')) }", is_away)


def test_a_channel_tells_how_much_in_it_is_unread(live_hub: HubProcess, place: str, post: Post, page: Page) -> None:
    other = f"{place}-2"
    post("old", target=other)
    post("old")
    page.goto(f"{live_hub.url}/channels/{place}")
    channels = page.get_by_role("navigation", name="Channels")
    expect(channels.get_by_role("link", name=other, exact=True)).to_be_visible()
    channels.get_by_role("link", name=other).focus()

    for _ in range(3):
        post("new", target=other)

    unread = channels.get_by_role("link", name=f"{other} 3 unread", exact=True)
    expect(unread).to_be_visible(timeout=LIVE_MS)
    expect(unread).to_have_css("font-weight", "700")
    expect(unread).to_be_focused()
    expect(channels.get_by_role("link", name=place, exact=True)).to_be_visible()
    for _ in range(97):
        post("new", target=other)
    expect(channels.get_by_role("link", name=f"{other} 99+ unread", exact=True)).to_be_visible(timeout=LIVE_MS)
    expect(page.locator("#channel-select option", has_text=f"{other} (99+)")).to_have_count(1)

    channels.get_by_role("link", name=other).click()
    expect(page.locator("#messages article").last).to_be_in_viewport()
    expect(channels.get_by_role("link", name=other, exact=True)).to_be_visible()
    page.reload()
    expect(channels.get_by_role("link", name=other, exact=True)).to_be_visible()


def test_a_hub_that_begins_anew_is_not_measured_by_the_old_one(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    post("old")
    page.goto(f"{live_hub.url}/channels/{place}-2")
    # More than the hub of any test run counts.
    page.evaluate("name => localStorage.setItem('relay_seen', JSON.stringify([[name, 123456789]]))", place)
    page.reload()
    page.wait_for_function("name => !localStorage.getItem('relay_seen').includes('123456789')", arg=place)

    post("new")

    channels = page.get_by_role("navigation", name="Channels")
    expect(channels.get_by_role("link", name=f"{place} 1 unread", exact=True)).to_be_visible(timeout=LIVE_MS)


def test_a_page_in_the_background_counts_in_its_title(live_hub: HubProcess, place: str, post: Post, page: Page) -> None:
    post("old")
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.locator("#messages article")).to_be_visible()
    go_away(page, True)

    for _ in range(3):
        last = post("new")

    expect(page).to_have_title(f"(3) {place} · Relay Hub", timeout=LIVE_MS)
    go_away(page, False)
    expect(page).to_have_title(f"{place} · Relay Hub")
    expect(page.locator(f"#m{last}")).to_be_in_viewport()


def test_a_reader_who_has_scrolled_up_has_not_seen_what_is_new(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    for number in range(40):
        post(f"message {number}")
    page.goto(f"{live_hub.url}/channels/{place}")
    page.locator("#messages article").first.scroll_into_view_if_needed()

    post("new")

    channels = page.get_by_role("navigation", name="Channels")
    expect(channels.get_by_role("link", name=f"{place} 1 unread", exact=True)).to_be_visible(timeout=LIVE_MS)
    page.get_by_role("button", name="1 new message").click()
    expect(channels.get_by_role("link", name=place, exact=True)).to_be_visible()


def test_pages_in_the_background_leave_connections_to_those_that_are_seen(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    pages = [page, *(page.context.new_page() for _ in range(6))]
    for one in pages:
        one.add_init_script(HIDDEN)
        one.goto(f"{live_hub.url}/channels/{place}")
        one.evaluate("isAway = true; document.dispatchEvent(new Event('visibilitychange'))")

    seen = page.context.new_page()
    seen.goto(f"{live_hub.url}/channels/{place}")
    message_id = post("new")

    expect(seen.locator(f"#m{message_id}")).to_be_visible()
    go_away(pages[-1], False)
    expect(pages[-1].locator(f"#m{message_id}")).to_be_visible()
