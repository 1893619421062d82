"""What a person sees who opens a hub for the first time."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Post
from tests.support.hub import HubProcess, Hubs


@pytest.fixture
def live_hub(hub: Hubs) -> HubProcess:
    return hub()


@pytest.fixture
def place() -> str:
    return "proj-x"


def test_a_channel_shows_its_messages_and_the_other_channels(live_hub: HubProcess, post: Post, page: Page) -> None:
    first, second = post("the **first**"), post("the second", sender="codex")
    post("elsewhere", target="other/one?")

    page.goto(f"{live_hub.url}/channels/proj-x")

    expect(page).to_have_title("proj-x · Relay Hub")
    expect(page.get_by_role("heading", name="Relay Hub")).to_be_visible()
    articles = page.locator("#messages > article").all()
    assert [article.get_attribute("id") for article in articles] == [f"m{first}", f"m{second}"]
    expect(page.locator(f"#m{first} strong")).to_have_text("first")
    channels = page.get_by_role("navigation", name="Channels")
    expect(channels.get_by_role("link")).to_have_text(["claude", "codex", "other/one?", "proj-x"])
    channels.get_by_role("link", name="other/one?").click()
    expect(page.get_by_text("elsewhere")).to_be_visible()
    expect(page.locator("#messages > article")).to_have_count(1)
    expect(page.locator(".note")).to_have_text(re.compile(rf"MCP endpoint: {live_hub.url}/mcp • API: /api/messages"))


def test_the_first_page_is_the_first_channel(live_hub: HubProcess, page: Page) -> None:
    page.goto(live_hub.url)

    expect(page.get_by_role("heading", level=2, name="claude")).to_be_visible()
    expect(page.get_by_text("No messages here yet.")).to_be_visible()


def test_a_hub_without_channels_takes_a_first_message(hub: Hubs, page: Page) -> None:
    page.goto(hub(channels=",").url)

    page.get_by_label("Channel", exact=True).fill("news")
    page.get_by_label("Message", exact=True).fill("hello")
    page.get_by_role("button", name="Send").click()

    expect(page.locator("#status")).to_have_text("Sent #1 to news.")
    page.get_by_role("navigation", name="Channels").get_by_role("link", name="news").click()
    expect(page.locator("#m1")).to_contain_text("hello")
