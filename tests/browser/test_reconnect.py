"""A page outlives the hub that sent it."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from app.storage import messages
from app.storage.database import Database
from tests.support.hub import HubProcess


def test_a_page_shows_what_it_missed_exactly_once(
    live_hub: HubProcess,
    post: Callable[..., int],
    in_database: Callable[..., int],
    page: Page,
    forgive: Callable[[str], None],
) -> None:
    before = post("before")
    page.goto(f"{live_hub.url}/channels/proj-x")
    seen = post("seen live")
    expect(page.locator(f"#m{seen}")).to_be_visible()

    live_hub.stop()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()

    async def say(database: Database) -> int:
        message = await database.write(
            messages.append, target="proj-x", sender="codex", text="while you were away", source="mcp"
        )
        return message.id or 0

    missed = in_database(live_hub, say)
    live_hub.start()

    expect(page.locator(f"#m{missed}")).to_contain_text("while you were away")
    expect(page.get_by_text("Reconnecting…")).to_have_count(0)
    after = post("after")
    expect(page.locator(f"#m{after}")).to_be_visible()
    shown = page.locator("#messages > article").evaluate_all("articles => articles.map((article) => article.id)")
    assert shown == [f"m{message_id}" for message_id in (before, seen, missed, after)]
    forgive("net::ERR_")


def test_a_killed_hub_leaves_a_page_that_comes_back(
    live_hub: HubProcess, post: Callable[..., int], page: Page, forgive: Callable[[str], None]
) -> None:
    page.goto(f"{live_hub.url}/channels/proj-x")

    live_hub.kill()
    expect(page.get_by_text("Reconnecting…")).to_be_visible()
    live_hub.start()

    message_id = post("back again")
    expect(page.locator(f"#m{message_id}")).to_be_visible()
    expect(page.get_by_text("Reconnecting…")).to_have_count(0)
    forgive("net::ERR_")
