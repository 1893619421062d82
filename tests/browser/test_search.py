"""The search page."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Post
from tests.support.browser import Pages
from tests.support.hub import HubProcess


def test_words_are_found_and_lead_to_their_message(
    live_hub: HubProcess, place: str, post: Post, new_page: Pages
) -> None:
    word = place.replace("-", "")
    first = post(f"# The {word}\n\n**upload** worker")
    post("nothing of it")
    second = post(f"upload the {word}!", target=f"{place}-2", sender="codex")
    for options in ({}, {"java_script_enabled": False}):
        page = new_page(**options)
        page.goto(live_hub.url)
        page.get_by_label("Search messages").fill(f"{word} UPLOAD")
        page.get_by_label("Search messages").press("Enter")

        results = page.locator(".result")
        expect(results).to_have_count(2)
        expect(results.nth(0)).to_contain_text(f"codex in {place}-2")
        expect(results.nth(0)).to_contain_text(f"#{second}")
        expect(results.nth(0).locator("mark")).to_have_text(["upload", word])
        expect(results.nth(1).locator("mark")).to_have_text([word, "upload"])
        expect(page).to_have_title(f"{word} UPLOAD · Search · Relay Hub")
        results.nth(1).get_by_role("link").click()
        expect(page).to_have_url(f"{live_hub.url}/channels/{place}?at={first}#m{first}")
        expect(page.locator(f"#m{first}")).to_be_in_viewport()


def test_a_search_is_bound_to_a_channel_and_a_sender(live_hub: HubProcess, place: str, post: Post, page: Page) -> None:
    word = place.replace("-", "")
    post(word)
    post(word, sender="codex")
    post(word, target=f"{place}-2")
    page.goto(f"{live_hub.url}/search")
    form = page.locator("form.search")
    form.get_by_label("Words").fill(word)
    form.get_by_label("Channel").fill(place)
    form.get_by_role("button", name="Search").click()
    expect(page.locator(".result")).to_have_count(2)

    form.get_by_label("Sender").fill("codex")
    form.get_by_role("button", name="Search").click()
    expect(page.locator(".result")).to_have_count(1)
    expect(form.get_by_label("Channel")).to_have_value(place)

    form.get_by_label("Sender").fill("nobody")
    form.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No message has all of these words.")).to_be_visible()
    page.get_by_role("link", name="search in all channels and of all senders").click()
    expect(page.locator(".result")).to_have_count(3)


def test_older_results_follow_without_gap_or_repeat(live_hub: HubProcess, place: str, post: Post, page: Page) -> None:
    word = place.replace("-", "")
    ids = [post(f"{word} & {number}") for number in range(65)]
    page.goto(f"{live_hub.url}/search?q={word}")
    seen: list[int] = []
    texts = ".result header > span"

    for count in (30, 30, 5):
        expect(page.locator(".result")).to_have_count(count)
        seen += [int(text.removeprefix("#")) for text in page.locator(texts).all_inner_texts()]
        if count == 30:
            page.get_by_role("link", name="Older results").click()

    assert seen == ids[::-1]
    expect(page.get_by_role("link", name="Older results")).to_have_count(0)


def test_phrases_and_beginnings_are_explained_and_work(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    word = place.replace("-", "")
    post(f"{word} retrying the upload")
    page.goto(live_hub.url)
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Search").click()
    expect(page.get_by_text("finds the words in this order")).to_be_visible()
    words = page.locator("form.search").get_by_label("Words")
    expect(words).to_be_focused()

    for query, count in ((f'{word} "the upload"', 1), (f'{word} "upload the"', 0), (f"{word} retr*", 1)):
        words.fill(query)
        words.press("Enter")
        expect(page.locator(".result")).to_have_count(count)
        expect(words).to_have_value(query)
    expect(page.locator("mark")).to_have_text([word, "retrying"])


def test_a_query_without_a_word_is_refused_in_words(
    live_hub: HubProcess, page: Page, forgive: Callable[[str], None]
) -> None:
    page.goto(f"{live_hub.url}/search?q=%22%22+%2A")

    expect(page.get_by_role("alert")).to_contain_text("at least one word")
    expect(page.get_by_text("finds all words that begin so")).to_be_visible()
    forgive("400")
