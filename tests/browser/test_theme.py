"""Light and dark."""

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Pages
from tests.support.forms import post_form
from tests.support.hub import HubProcess

GROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(246, 247, 249)", "rgb(18, 21, 26)"
YEAR_SEC = 31536000


def theme_cookies(page: Page) -> list[Any]:
    return [cookie for cookie in page.context.cookies() if cookie["name"] == "relay_theme"]


def test_the_button_names_the_other_mode_and_the_choice_is_kept(shared_hub: HubProcess, page: Page) -> None:
    page.goto(shared_hub.url)
    assert page.evaluate(GROUND) == LIGHT
    to_dark = page.get_by_role("button", name="Dark mode")
    expect(to_dark).to_have_attribute("aria-pressed", "false")

    to_dark.click()

    to_light = page.get_by_role("button", name="Light mode")
    expect(to_light).to_have_attribute("aria-pressed", "true")
    expect(to_light).to_be_focused()
    expect(to_dark).to_be_hidden()
    assert page.evaluate(GROUND) == DARK
    [cookie] = theme_cookies(page)
    assert (cookie["value"], cookie["path"], cookie["sameSite"]) == ("dark", "/", "Strict")
    assert cookie["expires"] == pytest.approx(time.time() + YEAR_SEC, abs=60)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate(GROUND) == DARK
    to_light.click()
    page.reload()
    assert page.evaluate(GROUND) == LIGHT


def test_a_choice_can_be_taken_back(shared_hub: HubProcess, page: Page) -> None:
    page.goto(shared_hub.url)
    system = page.get_by_role("button", name="System theme")
    expect(system).to_be_hidden()
    page.get_by_role("button", name="Dark mode").click()

    system.click()

    expect(system).to_be_hidden()
    expect(page.get_by_role("button", name="Dark mode")).to_be_focused()
    assert theme_cookies(page) == []
    assert page.evaluate(GROUND) == LIGHT
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(GROUND) == DARK


def test_without_a_choice_the_page_is_as_the_system_is(shared_hub: HubProcess, new_page: Pages) -> None:
    page = new_page(color_scheme="dark")
    page.goto(shared_hub.url)

    assert page.evaluate(GROUND) == DARK
    expect(page.get_by_role("button", name="Light mode")).to_be_visible()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(GROUND) == LIGHT
    expect(page.get_by_role("button", name="Dark mode")).to_be_visible()


def test_the_theme_changes_without_script(shared_hub: HubProcess, new_page: Pages) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{shared_hub.url}/dispatches")

    page.get_by_role("button", name="Dark mode").click()

    expect(page).to_have_url(f"{shared_hub.url}/dispatches")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    [cookie] = theme_cookies(page)
    assert (cookie["value"], cookie["path"], cookie["sameSite"]) == ("dark", "/", "Strict")
    assert cookie["expires"] == pytest.approx(time.time() + YEAR_SEC, abs=60)
    page.get_by_role("button", name="System theme").click()
    assert theme_cookies(page) == []


@pytest.mark.parametrize("referer", ["//evil.example/x", "https://evil.example//evil.example", "/\\evil.example", ""])
def test_the_way_back_stays_on_the_hub(shared_hub: HubProcess, referer: str) -> None:
    answer = post_form(shared_hub, "/theme", {"theme": "dark"}, Referer=referer)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/")
    assert answer.headers["location"][1:2] not in ("/", "\\")


def test_a_theme_that_is_none_is_refused(shared_hub: HubProcess) -> None:
    answer = post_form(shared_hub, "/theme", {"theme": "x"})

    assert answer.status_code == 400
