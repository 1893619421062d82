"""Messages that want to take over the page of whoever reads them."""

from collections.abc import Callable

from playwright.sync_api import Dialog, Page, expect

from tests.support.hub import HubProcess
from tests.unit.ui.test_markdown import HOSTILE


def test_no_message_runs_script_or_calls_out(live_hub: HubProcess, post: Callable[..., int], page: Page) -> None:
    """The page fixture fails on whatever leaves the hub and on every violation of the security policy."""
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    texts = [text for text in HOSTILE if "\0" not in text]
    for text in texts[::2]:
        post(text)
    page.goto(f"{live_hub.url}/channels/proj-x")
    for text in texts[1::2]:
        last = post(text, sender=text[:200].replace("\t", " ").replace("\n", " ").replace("\x01", "") or "x")

    expect(page.locator(f"#m{last}")).to_be_visible()
    expect(page.locator("#messages > article")).to_have_count(len(texts))
    assert page.locator("#messages").locator("script, img, iframe, style, form, svg, object, embed").count() == 0
    acting = "elements => elements.flatMap((e) => e.getAttributeNames()).filter((name) => /^on|^style$|src/.test(name))"
    assert page.locator("#messages *").evaluate_all(acting) == []
    links = page.locator("#messages .body a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(links) <= {"http:", "https:", "mailto:"}
    assert dialogs == []


def test_a_hostile_channel_name_is_only_a_name(live_hub: HubProcess, post: Callable[..., int], page: Page) -> None:
    name = "\"><img src=x onerror=alert(1)>'/../?a=b#c%2F"
    message_id = post("inside", target=name)

    page.goto(live_hub.url)
    page.get_by_role("navigation", name="Channels").get_by_role("link", name=name).click()

    expect(page.get_by_role("heading", level=2, name=name)).to_be_visible()
    expect(page.locator(f"#m{message_id}")).to_contain_text("inside")
    live = post("inside too", target=name)
    expect(page.locator(f"#m{live}")).to_contain_text("inside too")


def test_even_dots_are_a_name(live_hub: HubProcess, post: Callable[..., int], page: Page) -> None:
    first = post("inside", target="..")
    page.goto(live_hub.url)

    page.get_by_role("navigation", name="Channels").get_by_role("link", name="..", exact=True).click()

    expect(page.locator(f"#m{first}")).to_be_visible()
    live = post("inside too", target="..")
    expect(page.locator(f"#m{live}")).to_be_visible()
