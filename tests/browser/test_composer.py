"""Writing a message in the browser, with and without script."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import Pages
from tests.support.hub import HubProcess

Post = Callable[..., int]


@pytest.fixture
def channel(live_hub: HubProcess, page: Page) -> Page:
    page.goto(f"{live_hub.url}/channels/proj-x")
    return page


def test_ctrl_enter_sends_and_empties_the_box(channel: Page) -> None:
    box = channel.get_by_placeholder("Write message text... (Ctrl/Cmd+Enter to send)")
    box.fill("  kept **to the letter**\n")
    box.press("Control+Enter")

    expect(channel.locator("#status")).to_have_text("Sent #1 to proj-x.")
    expect(channel.locator("#status")).to_have_class("status ok")
    expect(box).to_have_value("")
    expect(channel.locator("#m1 strong")).to_have_text("to the letter")


def test_a_message_that_lacks_something_is_not_sent(channel: Page) -> None:
    send = channel.get_by_role("button", name="Send")
    wanted = "Channel, sender, and message text are required."
    send.click()
    expect(channel.locator("#status")).to_have_text(wanted)

    channel.get_by_label("Message", exact=True).fill("text")
    channel.get_by_label("Sender").fill(" ")
    send.click()

    expect(channel.locator("#status")).to_have_text(wanted)
    expect(channel.locator("#status")).to_have_class("status error")
    expect(channel.get_by_label("Message", exact=True)).to_have_value("text")


def test_a_refusal_is_shown_and_the_text_kept(channel: Page, forgive: Callable[[str], None]) -> None:
    channel.get_by_label("Sender").fill("s" * 201)
    channel.get_by_label("Message", exact=True).fill("precious")
    channel.get_by_role("button", name="Send").click()

    expect(channel.locator("#status")).to_have_text(
        "Send failed: sender is 201 characters long; max_name_chars allows 200"
    )
    expect(channel.get_by_label("Message", exact=True)).to_have_value("precious")
    expect(channel.get_by_role("button", name="Send")).to_be_enabled()
    forgive("400")


def test_the_button_rests_while_a_message_is_on_its_way(channel: Page) -> None:
    held: list[Route] = []
    channel.route("**/api/messages", lambda route: held.append(route))
    channel.get_by_label("Message", exact=True).fill("slow")
    channel.get_by_role("button", name="Send").click()
    expect(channel.locator("#status")).to_have_text("Sending...")
    expect(channel.get_by_role("button", name="Send")).to_be_disabled()

    held[0].continue_()

    expect(channel.locator("#status")).to_have_text("Sent #1 to proj-x.")
    expect(channel.get_by_role("button", name="Send")).to_be_enabled()


def test_an_unreachable_hub_is_named_and_the_text_kept(channel: Page, forgive: Callable[[str], None]) -> None:
    channel.route("**/api/messages", lambda route: route.abort())
    channel.get_by_label("Message", exact=True).fill("precious")
    channel.get_by_role("button", name="Send").click()

    expect(channel.locator("#status")).to_have_text("Send failed: the hub cannot be reached")
    expect(channel.get_by_label("Message", exact=True)).to_have_value("precious")
    forgive("ERR_FAILED")


def test_senders_are_the_usual_ones_and_those_of_the_channel(live_hub: HubProcess, post: Post, page: Page) -> None:
    post("hi", sender="ops-bot")
    page.goto(f"{live_hub.url}/channels/proj-x")
    options = page.locator("#senders option")
    values = "options => options.map((option) => option.value)"
    assert options.evaluate_all(values) == ["web-ui", "codex", "claude", "user", "ops-bot"]
    expect(page.get_by_label("Sender")).to_have_value("web-ui")

    post("hi", sender="late-bot")

    expect(options).to_have_count(6)
    assert options.evaluate_all(values)[-1] == "late-bot"


def test_the_chosen_sender_is_kept(channel: Page) -> None:
    channel.get_by_label("Sender").fill("me")
    channel.get_by_label("Message", exact=True).fill("text")
    channel.get_by_role("button", name="Send").click()
    expect(channel.locator("#m1 h3")).to_have_text("me")

    channel.reload()

    expect(channel.get_by_label("Sender")).to_have_value("me")


def test_the_composer_follows_the_channel_and_takes_a_new_one(channel: Page) -> None:
    expect(channel.get_by_label("Channel", exact=True)).to_have_value("proj-x")
    channel.get_by_role("navigation", name="Channels").get_by_role("link", name="codex").click()
    expect(channel.get_by_label("Channel", exact=True)).to_have_value("codex")

    channel.get_by_label("Channel", exact=True).fill("made/here")
    channel.get_by_label("Message", exact=True).fill("text")
    channel.get_by_role("button", name="Send").click()

    expect(channel.locator("#status")).to_have_text("Sent #1 to made/here.")
    expect(channel.get_by_role("navigation", name="Channels").get_by_role("link", name="made/here")).to_be_visible()


def test_a_message_is_posted_without_script(live_hub: HubProcess, new_page: Pages) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/proj-x")
    page.get_by_label("Message", exact=True).fill("one\ntwo **three**")
    page.get_by_label("Sender").fill("me")
    page.get_by_role("button", name="Send").click()

    expect(page).to_have_url(f"{live_hub.url}/channels/proj-x#m1")
    expect(page.locator("#m1 strong")).to_have_text("three")
    posted = live_hub.client.get("/api/messages", params={"target": "proj-x"}).json()["messages"]
    assert [(message["sender"], message["text"]) for message in posted] == [("me", "one\ntwo **three**")]


def test_a_refusal_without_script_keeps_what_was_written(
    live_hub: HubProcess, new_page: Pages, forgive: Callable[[str], None]
) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/proj-x")
    page.get_by_label("Message", exact=True).fill("\n<b>precious</b>")
    page.get_by_label("Channel", exact=True).fill("other")
    page.get_by_label("Sender").fill("")
    with page.expect_response("**/channels/proj-x") as response:
        page.get_by_role("button", name="Send").click()

    assert response.value.status == 400
    expect(page.locator("#status")).to_have_text("Send failed: sender is required")
    expect(page.get_by_label("Message", exact=True)).to_have_value("\n<b>precious</b>")
    expect(page.get_by_label("Channel", exact=True)).to_have_value("other")
    forgive("400")


def test_a_form_of_another_site_is_refused(live_hub: HubProcess) -> None:
    form = {"target": "proj-x", "sender": "evil", "text": "x"}
    for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert live_hub.client.post("/channels/proj-x", data=form, headers=headers).status_code == 403
        assert live_hub.client.post("/theme", data={"theme": "dark"}, headers=headers).status_code == 403
    assert live_hub.client.get("/api/messages").json()["messages"] == []
