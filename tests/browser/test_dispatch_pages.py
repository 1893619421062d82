"""The pages of dispatches."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from app.models import CallbackStatus, Dispatch, DispatchStatus, Origin, Outcome
from app.storage import dispatches, leases
from app.storage.database import Database
from tests.browser.conftest import Work
from tests.support.browser import Pages, axe_problems
from tests.support.hub import HubProcess, Hubs

InDatabase = Callable[[HubProcess, Work], Any]
ELSEWHERE = "/another/codex/home"
"""A home that this hub does not serve: its workers leave these dispatches alone."""


def dispatch(name: str, **values: Any) -> Dispatch:
    standard = {
        "origin": Origin.ASYNC,
        "home": ELSEWHERE,
        "project_id": "/home/me/code/shop",
        "thread_id": f"thread of {name}",
        "thread_name": name,
        "resolution": "thread_name",
        "message": "Please **fix** it.",
    }
    return Dispatch(**(standard | values))


async def finish(database: Database, outcome: Outcome) -> None:
    taken = await database.write(leases.claim, ELSEWHERE, "owner", 60)
    assert taken
    await database.write(leases.record_turn, taken[1], "turn-1")
    await database.write(leases.finish, taken[1], outcome)


def test_dispatches_stand_in_a_list_newest_first(hub: Hubs, in_database: InDatabase, page: Page) -> None:
    process = hub.prepare()

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, dispatch("first <b>"))
        await finish(database, Outcome(DispatchStatus.FAILED, error_code="turn_interrupted", error_message="cut off"))
        for number in range(60):
            await database.write(dispatches.add, dispatch(f"work {number}"))

    in_database(process, fill)
    page.goto(f"{process.start().url}/dispatches")

    names = page.locator(".dispatch h3")
    expect(names).to_have_count(50)
    expect(names.first).to_have_text("work 59")
    expect(page.locator(".dispatch .badge").first).to_have_text("queued")
    page.get_by_role("link", name="Older dispatches").click()
    expect(names).to_have_text([*(f"work {number}" for number in range(9, -1, -1)), "first <b>"])
    failed = page.locator(".dispatch").last
    expect(failed.locator(".badge")).to_have_text("failed")
    expect(failed).to_contain_text("turn_interrupted")


def test_a_dispatch_tells_its_whole_story(hub: Hubs, in_database: InDatabase, page: Page) -> None:
    process = hub.prepare()
    wanted = dispatch("story", callback_thread_id="caller", callback_status=CallbackStatus.PENDING)
    reply = "Done.\n\n```diff\n-old\n+new\n```\n\n<img src=x onerror=alert(1)>"

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, wanted)
        await finish(database, Outcome(DispatchStatus.SUCCEEDED, reply_text=reply))

    in_database(process, fill)
    page.goto(f"{process.start().url}/dispatches")
    page.get_by_role("link", name="story").click()

    expect(page.get_by_role("heading", level=2, name="story")).to_be_visible()
    expect(page.locator(".state")).to_contain_text("succeeded")
    expect(page.locator(".state")).to_contain_text("callback pending")
    expect(page.get_by_role("region", name="Reply").locator(".gi")).to_have_text("+new")
    expect(page.get_by_role("region", name="Reply").locator("img")).to_have_count(0)
    expect(page.get_by_role("region", name="Message").locator("strong")).to_have_text("fix")
    expect(page.get_by_role("region", name="Details")).to_contain_text("/home/me/code/shop")
    expect(page.locator(".timeline li strong")).to_have_text(["accepted", "claimed", "sent", "succeeded"])
    assert axe_problems(page) == []
    page.goto(f"{process.url}/dispatches")
    page.emulate_media(color_scheme="dark")
    assert axe_problems(page) == []


def test_pages_show_what_became_of_a_dispatch_while_the_hub_was_away(
    hub: Hubs, in_database: InDatabase, new_page: Pages, forgive: Callable[[str], None]
) -> None:
    process = hub.prepare()
    wanted = dispatch("long work")

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, wanted)

    async def end(database: Database) -> None:
        await finish(database, Outcome(DispatchStatus.SUCCEEDED, reply_text="All done."))
        await database.write(dispatches.add, dispatch("new work"))

    in_database(process, fill)
    process.start()
    index, one = new_page(), new_page()
    index.goto(f"{process.url}/dispatches")
    one.goto(f"{process.url}/dispatches/{wanted.id}")
    expect(index.locator(".badge")).to_have_text(["queued"])
    expect(one.locator(".badge")).to_have_text(["queued"])

    process.stop()
    in_database(process, end)
    expect(one.get_by_text("Reconnecting…")).to_be_visible()
    process.start()

    expect(index.locator(".dispatch h3")).to_have_text(["new work", "long work"])
    expect(index.locator(".badge")).to_have_text(["queued", "succeeded"])
    expect(one.locator(".badge")).to_have_text(["succeeded"])
    expect(one.get_by_text("All done.")).to_be_visible()
    forgive("net::ERR_")


def test_a_dispatch_that_is_not_there_has_a_page_that_says_so(
    live_hub: HubProcess, new_page: Pages, forgive: Callable[[str], None]
) -> None:
    page = new_page()
    answer = page.goto(f"{live_hub.url}/dispatches/unknown")

    assert answer
    assert answer.status == 404
    expect(page.get_by_text("Dispatch not found: unknown")).to_be_visible()
    assert axe_problems(page) == []
    forgive("404")


def test_a_hub_without_dispatches_says_what_they_are(live_hub: HubProcess, page: Page) -> None:
    page.goto(live_hub.url)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Dispatches").click()

    expect(page.get_by_text("No dispatches yet.")).to_be_visible()
