"""The pages of dispatches."""

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from app.models import CallbackStatus, Dispatch, DispatchStatus, Origin, Outcome, TurnItem
from app.storage import claims, dispatches, leases
from app.storage.database import Database
from tests.browser.conftest import Work
from tests.browser.test_code import DIFF
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


HOSTILE = "<img src=x onerror=alert(1)>"


def steps(dispatch_id: str) -> list[TurnItem]:
    """One of each kind, each with markup in it."""
    output = f"{HOSTILE}\n" + "a long line of output " * 40 + "\n"
    rows = [
        ("reasoning", "", f"**Thinking** {HOSTILE}", "completed"),
        ("plan", "", f"[x] read\n[>] write {HOSTILE}\n[ ] test", "inProgress"),
        ("message", "", f"I *look* {HOSTILE}", "completed"),
        ("command", f"cat {HOSTILE}", output * 20 + "\n(exit code 3)", "failed"),
        ("command", "rm -rf /", "", "declined"),
        ("command", "make", "so far", "inProgress"),
        ("files", f"src/a.py, {HOSTILE}", DIFF, "completed"),
        ("tool", f"server.{HOSTILE}", json.dumps({"key": HOSTILE}), "completed"),
        ("search", HOSTILE, "", "completed"),
        (HOSTILE, HOSTILE, HOSTILE, HOSTILE),
        ("message", "", "", "inProgress"),
    ]
    return [
        TurnItem(dispatch_id=dispatch_id, item_id=f"{n} {HOSTILE}", position=n, kind=k, title=t, text=x, status=s)
        for n, (k, t, x, s) in enumerate(rows)
    ]


async def finish(database: Database, outcome: Outcome | None, items: list[TurnItem] | None = None) -> None:
    """Run the first dispatch that waits; without an outcome, only so far that its turn runs."""
    taken = await database.write(claims.claim, ELSEWHERE, "owner", 3600)
    assert taken
    await database.write(leases.record_turn, taken[1], "turn-1")
    if items is not None:
        values = {"diff": DIFF, "usage": json.dumps({"totalTokens": 12345, "inputTokens": 12000})}
        await database.write(leases.record_progress, taken[1], items, values)
    if outcome is not None:
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
    expect(page.get_by_role("button", name="Deliver callback again")).to_be_visible()
    expect(page.locator(".timeline li strong")).to_have_text(["accepted", "claimed", "sent", "succeeded"])
    assert axe_problems(page) == []
    page.goto(f"{process.url}/dispatches")
    page.emulate_media(color_scheme="dark")
    assert axe_problems(page) == []


def test_the_list_is_filtered_without_script_and_stays_so_when_paging(
    hub: Hubs, in_database: InDatabase, new_page: Pages
) -> None:
    process = hub.prepare()

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, dispatch("ended", project_id="/other", thread_id="known"))
        await finish(database, Outcome(DispatchStatus.SUCCEEDED, reply_text="done"))
        for number in range(55):
            await database.write(dispatches.add, dispatch(f"shop {number}"))
            await database.write(dispatches.add, dispatch(f"other {number}", project_id="/other"))

    in_database(process, fill)
    page = new_page(java_script_enabled=False)
    page.goto(f"{process.start().url}/dispatches")
    names = page.locator(".dispatch h3")

    page.get_by_role("navigation", name="Status").get_by_role("link", name="queued").click()
    page.get_by_label("Project").fill("/other/")
    page.get_by_role("button", name="Filter").click()
    expect(names).to_have_text([f"other {number}" for number in range(54, 4, -1)])
    page.get_by_role("link", name="Older dispatches").click()
    expect(names).to_have_text([f"other {number}" for number in range(4, -1, -1)])
    expect(page.get_by_role("navigation", name="Status").locator("[aria-current]")).to_have_text("queued")

    page.get_by_role("navigation", name="Status").get_by_role("link", name="succeeded").click()
    expect(names).to_have_text(["ended"])
    page.get_by_role("link", name="Clear").click()
    page.get_by_label("Thread id").fill("known")
    page.get_by_role("button", name="Filter").click()
    expect(names).to_have_text(["ended"])
    page.get_by_role("link", name="failed").click()
    expect(page.get_by_text("No dispatch fits.")).to_be_visible()


def test_a_status_that_is_none_is_refused(
    live_hub: HubProcess, new_page: Pages, forgive: Callable[[str], None]
) -> None:
    page = new_page()
    page.goto(f"{live_hub.url}/dispatches?status=done")
    expect(page.get_by_text("status must be one of: queued, running")).to_be_visible()
    forgive("400")


def test_a_dispatch_that_waits_says_what_for(hub: Hubs, in_database: InDatabase, page: Page) -> None:
    process = hub.prepare()
    waits = dispatch("patient", waiting_for=f"Another Codex holds the thread {HOSTILE}")

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, waits)

    in_database(process, fill)
    page.goto(f"{process.start().url}/dispatches")
    expect(page.locator(".dispatch")).to_contain_text(f"Waits: Another Codex holds the thread {HOSTILE}")
    page.get_by_role("link", name="patient").click()
    expect(page.locator("#head")).to_contain_text(f"Waits: Another Codex holds the thread {HOSTILE}")


def test_every_kind_of_step_is_shown_as_what_it_is(hub: Hubs, in_database: InDatabase, new_page: Pages) -> None:
    process = hub.prepare()
    wanted = dispatch(f"all kinds {HOSTILE}", message=f"Please {HOSTILE}")

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, wanted)
        await finish(database, None, steps(wanted.id))

    in_database(process, fill)
    process.start()
    for width in (1280, 360):
        page = new_page(viewport={"width": width, "height": 700})
        page.goto(f"{process.url}/dispatches/{wanted.id}")
        items = page.locator("#items > li")

        expect(items.nth(0).locator("summary")).to_have_text("reasoning")
        expect(items.nth(0).locator("strong")).to_be_hidden()
        expect(items.nth(1).locator("li")).to_have_text(["done: read", f"in work: write {HOSTILE}", "to do: test"])
        expect(items.nth(2).locator("em")).to_have_text("look")
        expect(items.nth(3).locator("summary")).to_have_text(f"cat {HOSTILE} exit 3")
        expect(items.nth(3).locator("pre")).to_contain_text(f"$ cat {HOSTILE}\n{HOSTILE}")
        expect(items.nth(4).locator("summary")).to_have_text("rm -rf / declined")
        expect(items.nth(5).locator("summary")).to_have_text("make running")
        items.nth(6).locator("summary").first.click()
        expect(items.nth(6).locator(".gi").first).to_be_visible()
        items.nth(7).locator("summary").click()
        expect(items.nth(7).locator("pre")).to_be_visible()
        expect(items.nth(8)).to_have_text(f"search {HOSTILE}")
        expect(items.nth(10)).to_be_hidden()
        expect(page.locator("#steps")).to_have_text("11 steps · 12,345 tokens")
        expect(page.locator("#changes .diff")).to_be_visible()
        assert page.locator("img[src=x]").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert axe_problems(page) == []
        page.emulate_media(color_scheme="dark")
        assert axe_problems(page, "color-contrast") == []


def test_the_keyboard_reaches_what_scrolls_and_what_opens(hub: Hubs, in_database: InDatabase, page: Page) -> None:
    process = hub.prepare()
    wanted = dispatch("keys")

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, wanted)
        await finish(database, None, steps(wanted.id)[3:5])

    in_database(process, fill)
    page.goto(f"{process.start().url}/dispatches/{wanted.id}")
    summary = page.locator("#items summary").first
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#items pre").first).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#items pre").first).to_be_visible()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.locator("#items pre").first).to_be_focused()


def test_a_turn_that_was_cut_off_is_run_again_by_a_button(hub: Hubs, in_database: InDatabase, new_page: Pages) -> None:
    process = hub.prepare()
    wanted = dispatch("cut off")

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, wanted)
        await finish(database, Outcome(DispatchStatus.FAILED, error_code="turn_interrupted", error_message="cut off"))

    in_database(process, fill)
    page = new_page(java_script_enabled=False)
    page.goto(f"{process.start().url}/dispatches/{wanted.id}")
    button = page.get_by_role("button", name="Run again")
    expect(button).to_have_accessible_description(
        "Sends the message once more, as a new turn. Files stay as the first turn left them."
    )

    button.click()

    expect(page.locator(".state")).to_have_text("queued")
    expect(page.locator(".timeline")).to_contain_text("sent again")
    expect(page.get_by_role("region", name="Error")).to_have_count(0)


def test_a_button_that_does_not_work_says_why(
    hub: Hubs, in_database: InDatabase, new_page: Pages, forgive: Callable[[str], None]
) -> None:
    process = hub.prepare(codex_command="/no/codex")
    wanted = dispatch("untold", callback_thread_id="caller", callback_status=CallbackStatus.FAILED)

    async def fill(database: Database) -> None:
        await database.write(dispatches.add, wanted)
        await finish(database, Outcome(DispatchStatus.SUCCEEDED, reply_text="done"))

    in_database(process, fill)
    page = new_page()
    page.goto(f"{process.start().url}/dispatches/{wanted.id}")

    page.get_by_role("button", name="Retry callback").click()

    expect(page.get_by_text("codex_command")).to_be_visible()
    assert axe_problems(page) == []
    page.get_by_role("link", name="Back to the dispatch").click()
    expect(page.get_by_role("heading", level=2, name="untold")).to_be_visible()
    forgive("503")


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
