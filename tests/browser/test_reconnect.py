"""A page outlives the hub that sent it, and says how it stands."""

import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from app.storage import messages
from app.storage.database import Database
from tests.browser.conftest import Post
from tests.support.hub import HubProcess, Hubs


@pytest.fixture
def live_hub(hub: Hubs) -> HubProcess:
    return hub()


def test_a_page_shows_what_it_missed_exactly_once(
    live_hub: HubProcess,
    place: str,
    post: Post,
    in_database: Callable[..., int],
    page: Page,
    forgive: Callable[[str], None],
) -> None:
    before = post("before")
    page.goto(f"{live_hub.url}/channels/{place}")
    seen = post("seen live")
    expect(page.locator(f"#m{seen}")).to_be_visible()
    status = page.locator("main").get_by_role("status").first

    live_hub.stop()
    expect(status).to_contain_text("Reconnecting…")

    async def say(database: Database) -> int:
        message = await database.write(
            messages.append, target=place, sender="codex", text="while you were away", source="mcp"
        )
        return message.id

    missed = in_database(live_hub, say)
    live_hub.start()

    expect(page.locator(f"#m{missed}")).to_contain_text("while you were away")
    expect(status).to_have_text("Connected again.")
    after = post("after")
    expect(page.locator(f"#m{after}")).to_be_visible()
    shown = page.locator("#messages > article").evaluate_all("articles => articles.map((article) => article.id)")
    assert shown == [f"m{message_id}" for message_id in (before, seen, missed, after)]
    expect(status).to_have_text("")
    forgive("net::ERR_")


def test_a_killed_hub_leaves_a_page_that_comes_back(
    live_hub: HubProcess, place: str, post: Post, page: Page, forgive: Callable[[str], None]
) -> None:
    ids = [post(f"message {number}") for number in range(110)]
    page.goto(f"{live_hub.url}/channels/{place}")

    live_hub.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    page.locator("#messages article").first.scroll_into_view_if_needed()
    expect(page.locator("#older-status")).to_contain_text(
        "Older messages could not be loaded: the hub cannot be reached."
    )
    page.get_by_label("Message", exact=True).fill("precious")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#status")).to_have_text("Send failed: the hub cannot be reached")
    live_hub.start()

    message_id = post("back again")
    expect(page.locator(f"#m{message_id}")).to_be_attached()
    expect(page.get_by_text("Reconnecting…")).to_have_count(0)
    page.get_by_role("link", name="Older messages").click()
    expect(page.locator(f"#m{ids[0]}")).to_be_attached()
    expect(page.locator("#older-status")).to_have_text("")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#messages article").last).to_contain_text("precious")
    forgive("net::ERR_")


def test_a_page_that_gets_no_answer_for_long_says_so(
    live_hub: HubProcess, place: str, page: Page, forgive: Callable[[str], None]
) -> None:
    page.clock.install()
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.get_by_text("This channel does not exist yet.")).to_be_visible()

    with page.expect_console_message(lambda message: "net::ERR_" in message.text):
        live_hub.stop()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    page.clock.fast_forward(11_000)

    expect(page.get_by_text("The hub does not answer. Reconnecting…")).to_be_visible()
    forgive("net::ERR_")


def test_a_page_notices_a_hub_that_hangs_and_when_it_goes_on(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    page.clock.install()
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.get_by_text("This channel does not exist yet.")).to_be_visible()

    live_hub.signal(signal.SIGSTOP)
    page.clock.fast_forward(46_000)
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    live_hub.signal(signal.SIGCONT)

    expect(page.get_by_text("Connected again.")).to_be_visible()
    expect(page.locator(f"#m{post('it goes on')}")).to_be_visible()


def test_a_page_whose_network_was_cut_catches_up(
    shared_hub: HubProcess, place: str, page: Page, forgive: Callable[[str], None]
) -> None:
    page.goto(f"{shared_hub.url}/channels/{place}")
    page.context.set_offline(True)
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    message = {"target": place, "sender": "codex", "text": "while you were away"}
    missed = shared_hub.client.post("/api/messages", json=message).json()["posted"]

    page.context.set_offline(False)

    expect(page.locator(f"#m{missed}")).to_be_visible()
    expect(page.get_by_text("Connected again.")).to_be_visible()
    forgive("net::ERR_")


def test_a_hub_that_stops_says_so_before_it_goes(
    live_hub: HubProcess, place: str, page: Page, forgive: Callable[[str], None]
) -> None:
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.get_by_text("This channel does not exist yet.")).to_be_visible()

    with page.expect_console_message(lambda message: "net::ERR_" in message.text):
        live_hub.stop()
    expect(page.get_by_text("The hub is stopping. Reconnecting…")).to_be_visible()

    live_hub.start()
    expect(page.get_by_text("Connected again.")).to_be_visible()
    forgive("net::ERR_")
