"""What a person sees and does on a channel's page."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Post
from tests.support.browser import Pages
from tests.support.hub import HubProcess

LIVE_MS = 2000
TEN_LINES = "\n".join(f"line {number}" for number in range(10))


def test_a_message_appears_without_reload(place: str, live_hub: HubProcess, post: Post, page: Page) -> None:
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.get_by_text("This channel does not exist yet.")).to_be_visible()

    message_id = post("fresh")

    expect(page.locator(f"#m{message_id}")).to_contain_text("fresh", timeout=LIVE_MS)
    expect(page.get_by_text("This channel does not exist yet.")).to_be_hidden()


def test_a_new_channel_appears_without_reload(place: str, live_hub: HubProcess, post: Post, page: Page) -> None:
    page.goto(f"{live_hub.url}/channels/{place}")

    post("hello", target=f"{place} brand new")

    link = page.get_by_role("navigation", name="Channels").get_by_role("link", name=f"{place} brand new")
    expect(link).to_be_visible(timeout=LIVE_MS)


def test_what_a_reader_has_selected_survives_news(place: str, live_hub: HubProcess, post: Post, page: Page) -> None:
    first = post("select me")
    page.goto(f"{live_hub.url}/channels/{place}")
    page.locator(f"#m{first} .body p").select_text()

    second = post("news")

    expect(page.locator(f"#m{second}")).to_be_visible(timeout=LIVE_MS)
    assert page.evaluate("String(getSelection())") == "select me"


def test_a_long_message_is_folded_until_it_is_wanted(place: str, live_hub: HubProcess, post: Post, page: Page) -> None:
    short, long = post("one\ntwo"), post(TEN_LINES)
    page.goto(f"{live_hub.url}/channels/{place}")
    article = page.locator(f"#m{long}")
    more = article.get_by_role("button", name="Show more")
    expect(more).to_have_attribute("aria-expanded", "false")
    expect(page.locator(f"#m{short} button")).to_have_count(0)
    height = "element => element.clientHeight / parseFloat(getComputedStyle(element).lineHeight)"
    assert article.locator(".body").evaluate(height) == pytest.approx(3, abs=0.2)

    more.click()
    expect(page.locator("#messages article")).to_have_count(2)
    live = post(TEN_LINES)

    expect(page.locator(f"#m{live}").get_by_role("button", name="Show more")).to_be_visible()
    less = article.get_by_role("button", name="Show less")
    expect(less).to_have_attribute("aria-expanded", "true")
    assert article.locator(".body").evaluate(height) >= 10
    less.click()
    expect(article.get_by_role("button", name="Show more")).to_be_visible()


def test_a_reader_at_the_end_stays_at_the_end(place: str, live_hub: HubProcess, post: Post, page: Page) -> None:
    for number in range(30):
        post(f"message {number}")
    page.goto(f"{live_hub.url}/channels/{place}")

    for _ in range(3):
        newest = post("the newest\n\nwith more lines")
        expect(page.locator(f"#m{newest}")).to_be_in_viewport(timeout=LIVE_MS)


def test_a_reader_who_has_scrolled_up_is_left_alone_and_told(
    place: str, live_hub: HubProcess, post: Post, page: Page
) -> None:
    for number in range(30):
        post(f"message {number}")
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.locator("#messages article").last).to_be_in_viewport()
    page.mouse.move(640, 300)
    page.mouse.wheel(0, -700)
    page.wait_for_function("scrollY > 0 && document.body.scrollHeight - scrollY - innerHeight > 400")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    before = page.evaluate("scrollY")

    post("unseen")
    newest = post("unseen too")

    hint = page.get_by_role("button", name="2 new messages")
    expect(hint).to_be_visible(timeout=LIVE_MS)
    assert page.evaluate("scrollY") == before
    hint.click()
    expect(page.locator(f"#m{newest}")).to_be_in_viewport()
    expect(hint).to_be_hidden()


def test_times_are_those_of_the_reader(place: str, live_hub: HubProcess, post: Post, new_page: Pages) -> None:
    message_id = post("when")
    page = new_page(locale="en-GB", timezone_id="Asia/Tokyo")
    page.goto(f"{live_hub.url}/channels/{place}")
    time = page.locator(f"#m{message_id} time")

    iso = time.get_attribute("datetime")

    assert iso
    assert iso.endswith("Z")
    shown = "new Intl.DateTimeFormat('en-GB', {timeStyle: 'short', timeZone: 'Asia/Tokyo'}).format(new Date(iso))"
    expect(time).to_contain_text(page.evaluate(f"(iso) => {shown}", iso))


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_page(
    place: str, live_hub: HubProcess, post: Post, new_page: Pages, width: int
) -> None:
    wide = "w" * 400
    for text in (wide, f"`{wide}`", f"```\n{wide}\n```", f"|{wide}|b|\n|-|-|\n|{wide}|d|", f"- {wide}", f"# {wide}"):
        post(text)
    answered = post(wide, sender="s" * 200)
    post(wide, reply_to=answered)
    names = f"--- a/{wide}\n+++ b/{wide}\n"
    diff = post(f"```diff\n{names}@@ -1 +1 @@ {wide}\n-{wide}\n+{wide}\n```", target="c" * 200)
    page = new_page(viewport={"width": width, "height": 640})
    paths = [f"/channels/{place}", f"/channels/{place}?reply={answered}", f"/channels/{'c' * 200}?at={diff}#m{diff}"]
    paths += [f"/search?q={wide}", f"/search?q=x&target={wide}", "/channels/empty", "/dispatches", "/docs", "/"]
    for path in paths:
        page.goto(live_hub.url + path)
        expect(page.get_by_role("heading", name="Relay Hub")).to_be_visible()
        page.get_by_role("button", name="Show more").evaluate_all("buttons => buttons.forEach((one) => one.click())")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.goto(f"{live_hub.url}/channels/{place}")
    for name in ("Message", "Channel", "Sender"):
        expect(page.locator("#composer").get_by_label(name, exact=True)).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)


def test_a_page_without_script_is_current_when_it_is_loaded_again(
    place: str, live_hub: HubProcess, post: Post, new_page: Pages
) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/{place}")
    message_id = post("new")
    post("new", target=f"{place}-2")

    page.get_by_role("link", name="Reload").click()

    expect(page.locator(f"#m{message_id}")).to_be_visible()
    expect(page.get_by_role("link", name=f"{place}-2")).to_be_visible()


def test_a_small_screen_has_a_channel_selector(live_hub: HubProcess, place: str, post: Post, new_page: Pages) -> None:
    name = f"{place} a/b & c"
    post("over here", target=name)
    page = new_page(viewport={"width": 390, "height": 844})
    page.goto(live_hub.url)

    page.locator("#channel-select").select_option(name)

    expect(page.get_by_text("over here")).to_be_visible()
    expect(page.locator("#channel-select")).to_have_value(name)
