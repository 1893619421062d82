"""Answering and quoting a message."""

from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Post
from tests.support.browser import Pages
from tests.support.hub import HubProcess


def box(page: Page) -> Locator:
    return page.get_by_label("Message", exact=True)


def test_an_answer_names_and_shows_what_it_answers(live_hub: HubProcess, place: str, post: Post, page: Page) -> None:
    question = post("**Which** one?\n\nAnd why?", sender="codex")
    post("something else")
    page.goto(f"{live_hub.url}/channels/{place}")
    page.locator(f"#m{question}").hover()

    page.get_by_role("link", name=f"Reply to #{question}", exact=True).click()
    replying = page.get_by_text(f"Replying to #{question} codex: **Which** one?")
    expect(replying).to_be_visible()
    expect(box(page)).to_be_focused()
    page.reload()
    expect(replying).to_be_visible()
    box(page).fill("The second.")
    page.get_by_role("button", name="Send").click()

    answer = page.locator("#messages article").last
    expect(answer.locator(".body")).to_have_text("The second.")
    quote = answer.get_by_role("link", name=f"In reply to #{question} codex **Which** one?")
    expect(quote).to_be_visible()
    expect(replying).to_be_hidden()
    posted = live_hub.client.get("/api/messages", params={"target": place}).json()["messages"][-1]
    message = live_hub.client.get(f"/api/messages/{posted['id']}").json()["message"]
    assert message["reply_to"] == question
    quote.click()
    expect(page).to_have_url(f"{live_hub.url}/channels/{place}#m{question}")
    page.reload()
    expect(quote).to_be_visible()


def test_an_answer_can_be_left(live_hub: HubProcess, place: str, post: Post, page: Page) -> None:
    question = post("Which?")
    page.goto(f"{live_hub.url}/channels/{place}")
    page.get_by_role("link", name=f"Reply to #{question}", exact=True).click()
    box(page).fill("No answer.")

    page.get_by_role("link", name="Cancel reply").click()
    page.get_by_role("button", name="Send").click()

    expect(page.locator("#messages article").last.locator(".body")).to_have_text("No answer.")
    expect(page.locator(".answered")).to_have_count(0)
    expect(page).to_have_url(f"{live_hub.url}/channels/{place}")


def test_a_quoted_answer_leads_to_the_page_where_the_question_is(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    question = post("Which?")
    for number in range(120):
        post(f"message {number}")
    answer = post("The second.", reply_to=question)
    page.goto(f"{live_hub.url}/channels/{place}")

    page.locator(f"#m{answer}").get_by_role("link", name="In reply to").click()

    expect(page).to_have_url(f"{live_hub.url}/channels/{place}?at={question}#m{question}")
    expect(page.locator(f"#m{question}")).to_be_in_viewport()


def test_the_text_of_a_message_is_quoted_to_the_letter_or_in_part(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    message_id = post("one **two**\n\n    three\n")
    page.goto(f"{live_hub.url}/channels/{place}")
    box(page).fill("Look:")
    page.locator(f"#m{message_id}").hover()
    quote = page.get_by_role("link", name=f"Quote #{message_id}", exact=True)

    quote.click()

    expect(box(page)).to_have_value("Look:\n\n> one **two**\n>\n>     three\n\n")
    box(page).fill("")
    page.locator(f"#m{message_id} strong").select_text()
    quote.click()
    expect(box(page)).to_have_value("> two\n\n")
    expect(box(page)).to_be_focused()


def test_answers_and_quotations_work_without_script(
    live_hub: HubProcess, place: str, post: Post, new_page: Pages
) -> None:
    question = post("Which?\nThis?")
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/{place}")

    page.get_by_role("link", name=f"Quote #{question}", exact=True).click()
    expect(box(page)).to_have_value("> Which?\n> This?\n\n")
    page.get_by_role("link", name=f"Reply to #{question}", exact=True).click()
    expect(page.get_by_text(f"Replying to #{question} claude: Which?")).to_be_visible()
    page.get_by_role("link", name="Cancel reply").click()
    expect(page.get_by_text("Replying to")).to_be_hidden()
    page.get_by_role("link", name=f"Reply to #{question}", exact=True).click()
    box(page).fill("That.")
    page.get_by_role("button", name="Send").click()

    expect(page.get_by_role("link", name=f"In reply to #{question} claude Which?")).to_be_visible()


def test_a_message_of_another_channel_cannot_be_answered_here(
    live_hub: HubProcess, place: str, post: Post, page: Page, forgive: Callable[[str], None]
) -> None:
    elsewhere = post("Which?", target=f"{place}-2")

    answer = page.goto(f"{live_hub.url}/channels/{place}?reply={elsewhere}")

    assert answer
    assert answer.status == 404
    expect(page.get_by_text(f"There is no message #{elsewhere} in this channel.")).to_be_visible()
    forgive("404")
