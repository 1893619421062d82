"""A human in the browser answers what Codex asks: on every page the count, on two of them the buttons."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import LocatorAssertions, Page, expect

from tests.support.approvals import Desk, answer, listed, shown, waiting
from tests.support.browser import Pages, axe_problems
from tests.support.hub import HubProcess, Hubs

SECOND_MS = 1500
"""A second, and what the browser itself takes on a busy machine."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    hubs = Hubs()
    yield Desk(hubs, tmp_path_factory.mktemp("codex") / "fake")
    hubs.end()


@pytest.fixture(scope="module")
def shared_hub(desk: Desk) -> HubProcess:
    return desk.hub


@pytest.fixture(autouse=True)
def nothing_asked(desk: Desk, shared_hub: HubProcess) -> Iterator[None]:
    """Tests count what waits."""
    yield
    for approval in listed(desk.hub, status="pending"):
        answer(desk.hub, approval, "deny")
        desk.hub.dispatch_when(approval["dispatchId"])


def count(page: Page) -> LocatorAssertions:
    return expect(page.locator("#pending"))


def test_a_question_appears_on_every_page_without_reload(desk: Desk, new_page: Pages) -> None:
    paths = ("/", "/dispatches", "/dispatches/new", "/approvals", "/search", "/docs")
    pages = [new_page() for _ in paths]
    for page, path in zip(pages, paths, strict=True):
        page.goto(f"{desk.hub.url}{path}")
        count(page).to_be_hidden()
    approval = desk.asked("push")
    for page in pages:
        count(page).to_have_text("1", timeout=SECOND_MS)
        expect(page).to_have_title(re.compile("^⚑ 1 · "))
    answer(desk.hub, approval)
    for page in pages:
        count(page).to_be_hidden(timeout=SECOND_MS)
        expect(page).not_to_have_title(re.compile("⚑"))


@pytest.mark.parametrize("where", ["/approvals", "the page of its dispatch"])
@pytest.mark.parametrize(("button", "told"), [("Approve", "accept"), ("Deny", "decline")])
def test_a_button_answers_and_the_turn_goes_on(desk: Desk, page: Page, where: str, button: str, told: str) -> None:
    if where == "/approvals":
        page.goto(f"{desk.hub.url}{where}")
        dispatch_id = desk.ask("files")
    else:
        dispatch_id = desk.ask("files")
        page.goto(f"{desk.hub.url}/dispatches/{dispatch_id}")
    card = page.locator("article.approval.pending")
    expect(card).to_have_count(1)
    expect(card.get_by_role("heading")).to_contain_text("Codex wants to change files")
    expect(card.locator(".diff pre .gi")).to_have_text(["+hello\n", "+new\n"])
    card.get_by_role("button", name=button).click()
    expect(page.locator("article.approval.pending")).to_have_count(0)
    assert desk.hub.dispatch_when(dispatch_id)["replyText"].endswith(f"[{told}]")
    if where == "/approvals":
        expect(page).to_have_url(f"{desk.hub.url}/approvals")
        expect(page.locator("article.approval").first.locator(".badge")).to_have_text(re.compile("approved|denied"))
    else:
        expect(page.get_by_text(f"[{told}]")).to_be_visible()


def test_a_form_is_filled_in_and_what_is_wrong_in_it_is_said(desk: Desk, page: Page, new_page: Pages) -> None:
    approval = desk.asked("form")
    page.goto(f"{desk.hub.url}/approvals")
    page.get_by_role("link", name="Answer").click()
    page.get_by_label("Your age").fill("40")
    page.get_by_label("Your name").fill("A")
    page.get_by_label("agree").check()
    page.get_by_label("Large").check()
    page.get_by_label("two").check()
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("alert")).to_contain_text("Your name (name) must be a text")
    expect(page.get_by_label("Your age")).to_have_value("40")
    expect(page.get_by_label("two")).to_be_checked()
    new_page.problems.clear()  # to the console, what does not fit is one
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Answer").click()
    expect(page).to_have_url(re.compile("/dispatches/"))
    desk.reply(approval["dispatchId"])
    content = {"age": 40, "agree": True, "color": "blue", "name": "Ada", "size": "l", "tags": ["two"]}
    assert desk.answers[-1] == {"action": "accept", "content": content, "_meta": None}


def test_without_script_everything_works_by_reloading(desk: Desk, new_page: Pages) -> None:
    approval = desk.asked("input")
    page = new_page(java_script_enabled=False)
    page.goto(f"{desk.hub.url}/search")
    count(page).to_have_text("1")
    page.get_by_role("link", name="Approvals").click()
    page.get_by_role("link", name="Answer").click()
    page.get_by_label("Or in your own words").fill("Green")
    page.get_by_label("Say the word").fill("sesame")
    page.get_by_role("button", name="Answer").click()
    count(page).to_be_hidden()
    desk.reply(approval["dispatchId"])
    assert desk.answers[-1]["answers"]["color"] == {"answers": ["Green"]}


def test_a_page_that_is_out_of_date_cannot_answer(desk: Desk, new_page: Pages) -> None:
    approval = desk.asked("push")
    page = new_page(java_script_enabled=False)
    page.goto(f"{desk.hub.url}/approvals")
    answer(desk.hub, approval, "deny")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("This was denied by owner already.")).to_be_visible()
    new_page.problems.clear()  # to the console, an answer that comes too late is one
    page.get_by_role("link", name="Look at it again").click()
    expect(page.locator(".badge")).to_contain_text("denied")
    assert shown(desk.hub, approval["approvalId"])["status"] == "denied"


def test_what_cannot_be_seen_is_made_visible(desk: Desk, page: Page) -> None:
    approval = desk.asked("odd")
    page.goto(f"{desk.hub.url}/approvals/{approval['approvalId']}")
    expect(page.locator("article code").first).to_have_text("/bin/bash -lc 'echo \\u202e\\u001b[31mhi'")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_nothing_sticks_out(desk: Desk, new_page: Pages, scheme: str, width: int) -> None:
    approvals = [waiting(desk.hub, desk.ask(what)) for what in ("push", "files", "tool", "form")]
    page = new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    form = approvals[-1]
    for path in ("/approvals", f"/approvals/{form['approvalId']}", f"/dispatches/{approvals[1]['dispatchId']}"):
        page.goto(f"{desk.hub.url}{path}")
        assert axe_problems(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_without_a_sandbox_every_page_says_so_in_red(hub: Hubs, new_page: Pages) -> None:
    red = hub(codex_sandbox="danger-full-access")
    some = hub(projects='{"/srv/wild": {"sandbox": "danger-full-access"}}')
    page = new_page()
    for running, words in ((red, "every project"), (some, "/srv/wild")):
        for path in ("/", "/dispatches", "/approvals", "/search", "/docs", "/dispatches/none"):
            page.goto(f"{running.url}{path}")
            banner = page.locator(".danger-banner")
            expect(banner).to_contain_text(words)
            assert banner.evaluate("each => getComputedStyle(each).backgroundColor") == "rgb(179, 38, 30)"
        new_page.problems.clear()  # the page that is not there is one to the console
