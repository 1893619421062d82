"""Code and diffs: read, folded, selected and copied."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Post
from tests.support.browser import Pages
from tests.support.hub import HubProcess

DIFF = """\
diff --git a/app/a.py b/app/a.py
index 1111111..2222222 100644
--- a/app/a.py
+++ b/app/a.py
@@ -9,4 +9,5 @@ def f():
     if x:
-        return  1
+\treturn 2
+        # <b>
 \n     end
diff --git a/old.md b/new.md
similarity index 100%
rename from old.md
rename to new.md
"""


@pytest.fixture
def diff(live_hub: HubProcess, place: str, post: Post, new_page: Pages) -> Page:
    """A page that shows a message with the diff."""
    message_id = post(f"```diff\n{DIFF}```")
    page = new_page(permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{live_hub.url}/channels/{place}?at={message_id}#m{message_id}")
    return page


def test_a_diff_has_its_files_with_counts_and_numbers(diff: Page) -> None:
    files = diff.locator(".diff details")
    expect(files.locator("summary")).to_have_text(["app/a.py +2 −1", "old.md → new.md renamed"])
    lines = files.first.locator("pre > code > span:visible")
    expect(lines).to_have_count(7)
    numbers = "lines => lines.map((line) => getComputedStyle(line, '::before').content)"
    assert lines.evaluate_all(numbers) == [
        '"     "', '" 9  9"', '"10   "', '"   10"', '"   11"', '"11 12"', '"12 13"'
    ]  # fmt: skip
    ground = "line => getComputedStyle(line).backgroundColor"
    removed, added, context = (lines.nth(index).evaluate(ground) for index in (2, 3, 1))
    assert len({removed, added, context}) == 3
    expect(files.last.locator("pre")).to_be_hidden()

    files.first.locator("summary").click()
    expect(lines.first).to_be_hidden()
    files.first.locator("summary").press("Enter")
    expect(lines.first).to_be_visible()


def test_selected_lines_have_no_numbers(diff: Page) -> None:
    diff.locator(".diff pre").first.evaluate("pre => getSelection().selectAllChildren(pre)")

    shown = DIFF[DIFF.index("@@") : DIFF.index("diff --git a/old")]
    assert diff.evaluate("String(getSelection())").rstrip("\n") == shown.rstrip("\n")


def test_a_diff_is_copied_to_the_letter(diff: Page) -> None:
    diff.locator(".diff summary").first.hover()
    copy = diff.get_by_role("button", name="Copy")
    copy.click()

    expect(diff.get_by_role("button", name="Copied")).to_be_visible()
    assert diff.evaluate("navigator.clipboard.readText()") == DIFF
    expect(copy).to_be_visible()


def test_code_is_copied_with_the_keyboard(live_hub: HubProcess, place: str, post: Post, new_page: Pages) -> None:
    code = "def f():\n\treturn '<b>' & 1\n\n"
    post(f"Before `x`\n\n```python\n{code}```\n\n```\nother\n```")
    page = new_page(permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{live_hub.url}/channels/{place}")
    page.get_by_role("button", name="Copy").first.focus()
    expect(page.get_by_role("button", name="Show less")).to_be_visible()

    page.keyboard.press("Enter")

    expect(page.get_by_role("button", name="Copied")).to_be_focused()
    assert page.evaluate("navigator.clipboard.readText()") == code


def test_long_lines_scroll_in_their_block_with_the_keyboard(
    live_hub: HubProcess, place: str, post: Post, page: Page
) -> None:
    post(f"```\n{'wide ' * 200}\n```")
    post("```\nnarrow\n```")
    page.goto(f"{live_hub.url}/channels/{place}")
    wide, narrow = page.locator("#messages pre").all()

    expect(wide).to_have_attribute("tabindex", "0")
    assert narrow.get_attribute("tabindex") is None
    wide.focus()
    page.keyboard.press("ArrowRight")

    page.wait_for_function("document.activeElement.scrollLeft > 0")


def test_diffs_fold_and_have_no_button_without_script(
    live_hub: HubProcess, place: str, post: Post, new_page: Pages
) -> None:
    post(f"```diff\n{DIFF}```")
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/channels/{place}")
    expect(page.locator(".diff .gi").first).to_be_visible()
    expect(page.locator("#messages .copy")).to_be_hidden()

    page.locator(".diff summary").first.click()

    expect(page.locator(".diff pre").first).to_be_hidden()
