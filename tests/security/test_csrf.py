"""Every form of every page carries a token that only its own browser's pages know."""

import re
from collections.abc import Callable
from http.cookies import SimpleCookie

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Pages
from tests.support.forms import post_form, token_on
from tests.support.hub import HubProcess, Hubs
from tests.support.routes import every_route, forms
from tests.support.wire import request, wire

FIELDS = {"target": "c", "sender": "s", "text": "t", "theme": "dark", "project": "/p", "message": "m"}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def browser_client(shared_hub: HubProcess) -> httpx.Client:
    """A client with cookies of its own."""
    with httpx.Client(base_url=shared_hub.url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", forms())
def test_a_form_without_its_token_is_refused(shared_hub: HubProcess, path: str, browser_client: httpx.Client) -> None:
    other_token = token_on(shared_hub.client.get("/dispatches").text)
    own_token = token_on(browser_client.get("/dispatches").text)
    assert own_token != other_token
    own = {"Origin": shared_hub.url}
    attempts = [
        browser_client.post(path, data=FIELDS, headers=own),
        browser_client.post(path, data={**FIELDS, "csrf": ""}, headers=own),
        browser_client.post(path, data={**FIELDS, "csrf": "\u0661" * 64}, headers=own),
        browser_client.post(path, data={**FIELDS, "csrf": other_token}, headers=own),
        browser_client.post(path, data=FIELDS, files={"csrf": b"x"}, headers=own),
        browser_client.post(f"{path}?csrf={own_token}", data=FIELDS, headers=own),
        browser_client.post(path, json={**FIELDS, "csrf": own_token}, headers=own),
        browser_client.post(path, content="csrf=" + own_token, headers={**own, "Content-Type": "text/plain"}),
        browser_client.post(path, headers=own),
        httpx.post(f"{shared_hub.url}{path}", data={**FIELDS, "csrf": own_token}, headers=own, trust_env=False),
    ]
    for number, answer in enumerate(attempts):
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed"), (number, answer.text)
        assert "Load the page again" in answer.json()["error"]


@pytest.mark.parametrize("path", forms())
def test_a_form_with_its_token_is_taken(shared_hub: HubProcess, path: str) -> None:
    answer = post_form(shared_hub, path, FIELDS, Accept="application/json")
    assert "csrf_failed" not in answer.text


def test_only_forms_with_a_token_change_anything_on_a_page() -> None:
    changing = {path for method, path in every_route() if method not in ("GET", "HEAD", "POST")}
    assert changing <= {"/mcp", "/mcp/"}


def test_the_cookies_of_pages_are_strict(shared_hub: HubProcess) -> None:
    jar = SimpleCookie(httpx.get(f"{shared_hub.url}/dispatches", trust_env=False).headers["set-cookie"])
    flags = jar["relay_csrf"]
    assert (flags["samesite"], flags["httponly"], flags["path"], flags["domain"]) == ("strict", True, "/", "")
    assert len(flags.value) >= 43
    chosen = SimpleCookie(post_form(shared_hub, "/theme", {"theme": "dark"}).headers["set-cookie"])
    assert chosen["relay_theme"]["samesite"] == "strict"


def test_a_browser_keeps_its_secret_unless_it_could_be_guessed(shared_hub: HubProcess) -> None:
    with httpx.Client(base_url=shared_hub.url, trust_env=False) as client:
        first = token_on(client.get("/").text)
        again = client.get("/search")
        assert token_on(again.text) == first
        assert "set-cookie" not in again.headers
    for guessed in ("", "x", "a" * 31):
        answer = httpx.get(shared_hub.url, headers={"Cookie": f"relay_csrf={guessed}"}, trust_env=False)
        assert "relay_csrf" in answer.headers["set-cookie"]


def test_a_form_that_was_opened_before_a_restart_still_works(hub: Hubs, new_page: Pages) -> None:
    running = hub()
    page = new_page(java_script_enabled=False)
    page.goto(f"{running.url}/channels/c")
    page.get_by_label("Message", exact=True).fill("from before")
    running.restart()

    page.get_by_role("button", name="Send").click()

    expect(page).to_have_url(re.compile(r"/channels/c#m\d+$"))
    expect(page.locator("#messages article")).to_contain_text("from before")


def test_a_form_whose_cookie_is_gone_says_what_to_do(shared_hub: HubProcess, channel: str, new_page: Pages) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{shared_hub.url}/channels/{channel}")
    page.get_by_label("Message", exact=True).fill("lost?")
    page.context.clear_cookies()

    page.get_by_role("button", name="Send").click()

    expect(page.get_by_role("main")).to_contain_text("Load the page again")
    page.go_back()
    page.reload()
    page.get_by_label("Message", exact=True).fill("not lost")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#messages article")).to_contain_text("not lost")
    new_page.problems[:] = [problem for problem in new_page.problems if "403" not in problem]


@pytest.mark.parametrize("path", ["/", "/channels/c", "/dispatches", "/dispatches/new", "/search", "/docs", "/nope"])
def test_every_form_of_a_page_that_changes_something_has_the_token(
    shared_hub: HubProcess, page: Page, path: str, new_page: Pages
) -> None:
    page.goto(f"{shared_hub.url}{path}")
    tokens = page.locator("form[method=post]").evaluate_all("forms => forms.map((form) => form.elements.csrf?.value)")
    assert len(tokens) >= 2  # the theme's and the one for buttons
    assert len(set(tokens)) == 1
    assert re.fullmatch("[0-9a-f]{64}", tokens[0])
    new_page.problems[:] = [problem for problem in new_page.problems if "404" not in problem]


def test_what_readers_share_holds_no_token(shared_hub: HubProcess, channel: str) -> None:
    shared_hub.client.post("/api/messages", json={"target": channel, "sender": "s", "text": "the end"})
    with wire(shared_hub) as stream:
        stream.send(request(shared_hub, first=f"GET /live/channels/{channel}?after=0 HTTP/1.1"))
        received = b""
        while b"the end" not in received:
            received += stream.socket.recv(65536)
    assert b"csrf" not in received


def test_json_with_the_cookie_of_a_login_must_come_from_the_hubs_page(shared_hub: HubProcess, channel: str) -> None:
    post: Callable[..., httpx.Response] = shared_hub.client.post
    message = {"target": channel, "sender": "s", "text": "t"}
    cookie = {"Cookie": "relay_theme=dark; relay_session=stolen"}
    for path in ("/api/messages", "/api/dispatches", "/api/dispatches/recover", "/api/approvals/x"):
        answer = post(path, json=message, headers=cookie)
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
        assert "Origin" in answer.json()["error"]
    assert post("/api/messages", json=message, headers={**cookie, "Origin": shared_hub.url}).status_code != 403
