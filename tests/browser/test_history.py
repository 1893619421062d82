"""Older messages, and links to single ones."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Post
from tests.support.browser import Pages
from tests.support.hub import HubProcess

COUNT = 230


@pytest.fixture
def ids(post: Post) -> list[int]:
    return [post(f"message {number}") for number in range(COUNT)]


def shown(page: Page) -> list[int]:
    found: list[int] = page.locator("#messages > article").evaluate_all("all => all.map((one) => +one.dataset.id)")
    return found


def to_top(page: Page) -> None:
    page.mouse.move(640, 300)
    page.mouse.wheel(0, -100_000)


def test_older_messages_come_by_themselves_and_move_nothing(
    place: str, live_hub: HubProcess, ids: list[int], page: Page
) -> None:
    held: list[Route] = []
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.locator(f"#m{ids[-1]}")).to_be_in_viewport()
    assert shown(page) == ids[-100:]
    page.route("**before=*", lambda route: held.append(route))
    with page.expect_request("**before=*"):
        to_top(page)
    expect(page.locator("#older-status")).to_have_text("Loading…")
    page.get_by_role("link", name="Older messages").click()
    expect(page.locator(f"#m{ids[-100]}")).to_be_in_viewport()
    assert len(held) == 1
    before = page.locator(f"#m{ids[-100]}").bounding_box()

    held[0].continue_()

    expect(page.locator("#messages > article")).to_have_count(200)
    assert before
    page.wait_for_function(
        "([id, y]) => Math.abs(document.getElementById(id).getBoundingClientRect().y - y) < 2",
        arg=[f"m{ids[-100]}", before["y"]],
    )
    page.unroute("**before=*")
    to_top(page)
    expect(page.locator("#messages > article")).to_have_count(COUNT)
    assert shown(page) == ids
    expect(page.get_by_role("link", name="Older messages")).to_be_hidden()


def test_a_refusal_of_older_messages_is_said_and_can_be_tried_again(
    place: str, live_hub: HubProcess, ids: list[int], page: Page, forgive: Callable[[str], None]
) -> None:
    page.goto(f"{live_hub.url}/channels/{place}")
    page.route("**before=*", lambda route: route.fulfill(status=503))
    to_top(page)
    status = page.locator("#older-status")
    expect(status).to_have_text(
        "Older messages could not be loaded: request failed with status 503. Press the button to try again."
    )
    forgive("503")
    page.unroute("**before=*")

    page.get_by_role("link", name="Older messages").click()

    expect(page.locator(f"#m{ids[-101]}")).to_be_attached()
    expect(status).to_have_text("")


def test_history_is_read_without_script(place: str, live_hub: HubProcess, ids: list[int], new_page: Pages) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/{place}")
    assert page.get_by_role("link", name="Newer messages").count() == 0

    page.get_by_role("link", name="Older messages").click()
    expect(page.locator(f"#m{ids[-101]}")).to_be_attached()
    expect(page.get_by_role("button", name="Send")).to_have_count(0)
    page.get_by_role("link", name="Older messages").click()
    expect(page.get_by_text("message 0", exact=True)).to_be_attached()
    expect(page.get_by_role("link", name="Older messages")).to_be_hidden()
    page.get_by_role("link", name="Newer messages").click()
    expect(page.locator(f"#m{ids[30]}")).to_be_attached()
    page.get_by_role("link", name="Newest messages").click()
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_link_to_a_message_shows_it_amid_the_others(
    place: str, live_hub: HubProcess, ids: list[int], new_page: Pages
) -> None:
    for fragment, options in (("", {}), (f"#m{ids[100]}", {}), (f"#m{ids[100]}", {"java_script_enabled": False})):
        page = new_page(**options)
        page.goto(f"{live_hub.url}/channels/{place}?at={ids[100]}{fragment}")

        expect(page.locator(f"#m{ids[100]}")).to_be_in_viewport()
        expect(page.locator(f"#m{ids[51]}")).to_be_attached()
        expect(page.locator(f"#m{ids[149]}")).to_be_attached()
        expect(page.get_by_role("link", name="Newer messages")).to_be_attached()


def test_every_message_is_a_link_to_itself(place: str, live_hub: HubProcess, ids: list[int], page: Page) -> None:
    page.goto(f"{live_hub.url}/channels/{place}")
    link = page.locator(f"#m{ids[-3]} .permalink")
    expect(link).to_have_attribute("href", f"/channels/{place}?at={ids[-3]}#m{ids[-3]}")
    page.evaluate("isStillHere = true")

    link.click()

    expect(page).to_have_url(f"{live_hub.url}/channels/{place}#m{ids[-3]}")
    assert page.evaluate("isStillHere")
    page.goto(f"{live_hub.url}/channels/{place}-2")
    page.goto(f"{live_hub.url}/channels/{place}#m{ids[5]}")
    expect(page).to_have_url(f"{live_hub.url}/channels/{place}?at={ids[5]}#m{ids[5]}")
    expect(page.locator(f"#m{ids[5]}")).to_be_in_viewport()


def test_a_linked_message_is_unfolded(place: str, live_hub: HubProcess, post: Post, page: Page) -> None:
    ten_lines = "\n".join(f"line {number}" for number in range(10))
    first, second = post(ten_lines), post(ten_lines)

    page.goto(f"{live_hub.url}/channels/{place}?at={first}#m{first}")

    expect(page.locator(f"#m{first}").get_by_role("button", name="Show less")).to_be_visible()
    expect(page.locator(f"#m{second}").get_by_role("button", name="Show more")).to_be_visible()


def test_a_message_that_is_not_in_the_channel_is_missed_in_words(
    place: str, live_hub: HubProcess, post: Post, page: Page
) -> None:
    elsewhere = post("elsewhere", target=f"{place}-2")
    here = post("here")

    page.goto(f"{live_hub.url}/channels/{place}?at={elsewhere}")

    expect(page.get_by_text(f"There is no message #{elsewhere} in this channel.")).to_be_visible()
    expect(page.locator(f"#m{here}")).to_be_visible()


def test_the_word_about_a_missing_message_stays_in_sight_when_older_ones_come(
    place: str, live_hub: HubProcess, ids: list[int], post: Post, page: Page
) -> None:
    elsewhere = post("elsewhere", target=f"{place}-2")
    for number in range(60):
        post(f"later {number}")

    page.goto(f"{live_hub.url}/channels/{place}?at={elsewhere}")

    expect(page.locator(f"#m{ids[-60]}")).to_be_attached()
    notice = page.get_by_text(f"There is no message #{elsewhere} in this channel.")
    expect(notice).to_be_in_viewport(ratio=1)
    page.wait_for_function(
        "word => { const box = word.getBoundingClientRect();"
        " return document.elementFromPoint(box.left + 40, box.top + 10) === word; }",
        arg=notice.element_handle(),
    )


def test_a_place_that_is_none_is_refused_in_words(
    place: str, live_hub: HubProcess, page: Page, forgive: Callable[[str], None]
) -> None:
    answer = page.goto(f"{live_hub.url}/channels/{place}?at=soon")

    assert answer
    assert answer.status == 400
    expect(page.get_by_text("at must be a whole number")).to_be_visible()
    expect(page).to_have_title(re.compile("Relay Hub"))
    forgive("400")
