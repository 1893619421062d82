"""Writing a message in the browser, with and without script."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Post
from tests.support.browser import Pages, cookies
from tests.support.hub import HubProcess


@pytest.fixture
def writing(live_hub: HubProcess, place: str, page: Page) -> Page:
    """The page of the test's channel."""
    page.goto(f"{live_hub.url}/channels/{place}")
    return page


@pytest.fixture
def posted(live_hub: HubProcess, place: str) -> Callable[[], list[tuple[str, str]]]:
    """Sender and text of everything in the channel."""

    def posted() -> list[tuple[str, str]]:
        answer = live_hub.client.get("/api/messages", params={"target": place}).json()
        return [(message["sender"], message["text"]) for message in answer["messages"]]

    return posted


def sent_to(place: str) -> "re.Pattern[str]":
    return re.compile(rf"^Sent #\d+ to {re.escape(place)}\.$")


def box(page: Page) -> Locator:
    return page.get_by_label("Message", exact=True)


def send(page: Page) -> None:
    page.get_by_role("button", name="Send").click()


def test_ctrl_enter_sends_and_empties_the_box(writing: Page, place: str) -> None:
    text = writing.get_by_placeholder("Write message text... (Ctrl/Cmd+Enter to send)")
    text.fill("  kept **to the letter**")
    text.press("Enter")
    expect(text).to_have_value("  kept **to the letter**\n")
    text.press("Control+Enter")

    expect(writing.locator("#status")).to_have_text(sent_to(place))
    expect(writing.locator("#status")).to_have_class("status ok")
    expect(text).to_have_value("")
    expect(writing.locator("#messages strong")).to_have_text("to the letter")


def test_a_message_that_lacks_something_is_not_sent(writing: Page) -> None:
    wanted = "Channel, sender, and message text are required."
    send(writing)
    expect(writing.locator("#status")).to_have_text(wanted)

    box(writing).fill("text")
    writing.get_by_label("Sender").fill(" ")
    send(writing)

    expect(writing.locator("#status")).to_have_text(wanted)
    expect(writing.locator("#status")).to_have_class("status error")
    expect(box(writing)).to_have_value("text")


def test_a_refusal_is_shown_and_the_text_kept(writing: Page, forgive: Callable[[str], None]) -> None:
    writing.get_by_label("Sender").fill("s" * 201)
    box(writing).fill("precious")
    send(writing)

    expect(writing.locator("#status")).to_have_text(
        "Send failed: sender is 201 characters long; max_name_chars allows 200"
    )
    expect(box(writing)).to_have_value("precious")
    expect(writing.get_by_role("button", name="Send")).to_be_enabled()
    forgive("400")


def test_the_button_rests_while_a_message_is_on_its_way(writing: Page, place: str) -> None:
    held: list[Route] = []
    writing.route("**/api/messages", lambda route: held.append(route))
    box(writing).fill("slow")
    send(writing)
    expect(writing.locator("#status")).to_have_text("Sending...")
    expect(writing.get_by_role("button", name="Send")).to_be_disabled()

    held[0].continue_()

    expect(writing.locator("#status")).to_have_text(sent_to(place))
    expect(writing.get_by_role("button", name="Send")).to_be_enabled()


def test_what_is_sent_again_after_a_lost_answer_is_posted_once(
    writing: Page, posted: Callable[[], list[tuple[str, str]]], place: str, forgive: Callable[[str], None]
) -> None:
    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    writing.route("**/api/messages", lose_the_answer)
    box(writing).fill("precious")
    send(writing)
    expect(writing.locator("#status")).to_have_text("Send failed: the hub cannot be reached")
    expect(box(writing)).to_have_value("precious")
    forgive("ERR_FAILED")
    writing.unroute("**/api/messages")

    writing.reload()
    expect(box(writing)).to_have_value("precious")
    send(writing)
    expect(writing.locator("#status")).to_have_text(sent_to(place))
    assert posted() == [("web-ui", "precious")]

    box(writing).fill("precious")
    send(writing)
    expect(writing.locator("#messages article")).to_have_count(2)
    assert posted() == [("web-ui", "precious")] * 2


def test_each_channel_keeps_its_draft_until_it_is_sent(live_hub: HubProcess, writing: Page, place: str) -> None:
    box(writing).fill("half a thou")
    writing.goto(f"{live_hub.url}/channels/{place}-2")
    expect(box(writing)).to_have_value("")
    writing.goto(f"{live_hub.url}/channels/{place}")
    expect(box(writing)).to_have_value("half a thou")

    send(writing)
    expect(writing.locator("#status")).to_have_text(sent_to(place))
    writing.reload()

    expect(box(writing)).to_have_value("")


def test_senders_are_the_usual_ones_and_those_of_the_channel(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    post("hi", sender="ops-bot")
    page.goto(f"{live_hub.url}/channels/{place}")
    options = page.locator("#senders option")
    values = "options => options.map((option) => option.value)"
    assert options.evaluate_all(values) == ["web-ui", "codex", "claude", "user", "ops-bot"]
    expect(page.get_by_label("Sender")).to_have_value("web-ui")

    post("hi", sender="late-bot")

    expect(options).to_have_count(6)
    assert options.evaluate_all(values)[-1] == "late-bot"


def test_the_chosen_sender_is_kept(writing: Page) -> None:
    writing.get_by_label("Sender").fill("me")
    box(writing).fill("text")
    send(writing)
    expect(writing.locator("#messages h3")).to_have_text("me")

    writing.reload()

    expect(writing.get_by_label("Sender")).to_have_value("me")


def test_a_message_for_another_channel_makes_it_and_leads_there(writing: Page, place: str) -> None:
    other = f"{place}/made here?"
    expect(writing.get_by_label("Channel", exact=True)).to_have_value(place)
    writing.get_by_label("Channel", exact=True).fill(other)
    box(writing).fill("text")
    send(writing)

    expect(writing.locator("#status")).to_have_text(sent_to(other))
    expect(writing.get_by_role("navigation", name="Channels").get_by_role("link", name=other)).to_be_visible()
    writing.locator("#status").get_by_role("link", name=other).click()
    expect(writing.locator("#messages article")).to_contain_text("text")
    expect(writing.get_by_label("Channel", exact=True)).to_have_value(other)


def test_ones_own_message_is_shown_to_whoever_had_scrolled_up(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    for number in range(30):
        post(f"message {number}")
    page.goto(f"{live_hub.url}/channels/{place}")
    page.locator("#messages article").first.scroll_into_view_if_needed()

    box(page).fill("mine")
    send(page)

    expect(page.locator("#messages article").last).to_contain_text("mine")
    expect(page.locator("#messages article").last).to_be_in_viewport()


def test_a_message_is_posted_without_script_and_once(
    live_hub: HubProcess, place: str, new_page: Pages, posted: Callable[[], list[tuple[str, str]]]
) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/{place}")
    box(page).fill("one\ntwo **three**")
    page.get_by_label("Sender").fill("me")
    with page.expect_request(f"**/channels/{place}") as request:
        send(page)

    expect(page).to_have_url(re.compile(rf"/channels/{place}#m\d+$"))
    expect(page.locator("#messages strong")).to_have_text("three")
    again = live_hub.client.post(
        f"/channels/{place}",
        content=request.value.post_data_buffer,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Origin": live_hub.url, "Cookie": cookies(page)},
    )
    assert again.status_code == 303
    assert posted() == [("me", "one\ntwo **three**")]


def test_a_refusal_without_script_keeps_what_was_written(
    live_hub: HubProcess, place: str, post: Post, new_page: Pages, forgive: Callable[[str], None]
) -> None:
    answered = post("the question")
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/{place}?reply={answered}")
    box(page).fill("\n<b>precious</b>")
    page.get_by_label("Sender").fill("")
    with page.expect_response(f"**/channels/{place}") as response:
        send(page)

    assert response.value.status == 400
    expect(page.locator("#status")).to_have_text("Send failed: sender is required")
    expect(box(page)).to_have_value("\n<b>precious</b>")
    expect(page.get_by_label("Channel", exact=True)).to_have_value(place)
    expect(page.get_by_text(f"Replying to #{answered} claude: the question")).to_be_visible()
    forgive("400")


def test_a_form_of_another_site_is_refused(live_hub: HubProcess, place: str) -> None:
    form = {"target": place, "sender": "evil", "text": "x"}
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert live_hub.client.post(f"/channels/{place}", data=form, headers=headers).status_code == 403
        assert live_hub.client.post("/theme", data={"theme": "dark"}, headers=headers).status_code == 403
    assert live_hub.client.get("/api/messages", params={"target": place}).json()["messages"] == []
