"""Logging in and out of the pages, as people do, with and without script."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import Pages, axe_problems
from tests.support.forms import token_on
from tests.support.processes import wait_until
from tests.support.tokens import ClosedHub, closed_hub, token_command, token_of

REFUSED = re.compile(r"console error: Failed to load resource: the server responded with a status of 40[13]")


@pytest.fixture(scope="module")
def closed() -> Iterator[ClosedHub]:
    with closed_hub(claude=(), ana=("--human",), bob=("--human",), reader=("--human", "--scope", "read")) as made:
        yield made


@pytest.fixture
def pages(browser: Browser, closed: ClosedHub) -> Iterator[Pages]:
    """Opens pages of the closed hub; each answer that is an error is an error in their console too."""
    pages = Pages(browser, lambda: [closed.hub])
    yield pages
    pages.problems = [problem for problem in pages.problems if not REFUSED.match(problem)]
    pages.end()


@pytest.fixture
def client(closed: ClosedHub) -> Iterator[httpx.Client]:
    """A browser without a window: it keeps cookies."""
    with httpx.Client(base_url=closed.hub.url, trust_env=False, headers={"Accept": "text/html"}) as client:
        yield client


def log_in(client: httpx.Client, token: str, next_path: str = "/", **fields: str) -> httpx.Response:
    page = client.get("/login").text
    form = {"csrf": token_on(page), "token": token, "next": next_path, **fields}
    return client.post("/login", data=form, headers={"Origin": str(client.base_url).rstrip("/")})


def send(client: httpx.Client, path: str, page: str = "/search", **fields: str) -> httpx.Response:
    form = {"csrf": token_on(client.get(page).text), **fields}
    return client.post(path, data=form, headers={"Origin": str(client.base_url).rstrip("/")})


def test_a_login_is_a_cookie_that_neither_scripts_nor_other_sites_get(closed: ClosedHub, client: httpx.Client) -> None:
    cookie = log_in(client, closed.tokens["ana"]).headers["set-cookie"]
    assert re.fullmatch(
        r"relay_session=rh_[\w-]{43}; HttpOnly; Max-Age=604800; Path=/; SameSite=strict", cookie, re.IGNORECASE
    )
    assert closed.tokens["ana"] not in cookie


@pytest.mark.parametrize(
    ("asked", "came_to"),
    [
        ("/dispatches?q=a%20b", "/dispatches?q=a%20b"),
        ("/channels/proj-x", "/channels/proj-x"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("evil.example", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("", "/"),
    ],
)
def test_a_login_leads_to_pages_of_the_hub_alone(
    closed: ClosedHub, client: httpx.Client, asked: str, came_to: str
) -> None:
    assert log_in(client, closed.tokens["ana"], asked).headers["location"] == came_to
    shown = client.get("/login", params={"next": asked}).text
    assert f'name="next" value="{came_to}"' in shown


@pytest.mark.parametrize(
    "token", ["", "x", "rh_wrong", "\ud800".encode("utf-8", "surrogatepass"), b"\x00\xff", "ä" * 9999]
)
def test_what_is_no_token_is_refused_in_words(client: httpx.Client, token: Any) -> None:
    answer = log_in(client, token)
    assert answer.status_code == 401
    assert "This token is not valid" in answer.text
    assert "relay_session" not in client.cookies


def test_a_login_needs_the_token_of_its_page(closed: ClosedHub, client: httpx.Client) -> None:
    refused = log_in(client, closed.tokens["ana"], csrf="0" * 64)
    assert refused.status_code == 403
    assert "relay_session" not in client.cookies
    log_in(client, closed.tokens["ana"])
    assert client.post("/logout", data={}, headers={"Origin": closed.hub.url}).status_code == 403
    assert client.get("/").status_code == 200


def test_a_cookie_is_no_token_and_a_token_is_no_cookie(closed: ClosedHub, client: httpx.Client) -> None:
    log_in(client, closed.tokens["ana"])
    cookie = client.cookies["relay_session"]
    with httpx.Client(base_url=closed.hub.url, trust_env=False) as other:
        assert other.get("/api/channels", headers={"Authorization": f"Bearer {cookie}"}).status_code == 401
        assert other.get("/api/channels", headers={"Cookie": f"relay_session={cookie}"}).status_code == 200
        # Agents show tokens; a browser has no business there.
        shown = {"Cookie": f"relay_session={cookie}", "Origin": closed.hub.url}
        assert other.post("/mcp", json={}, headers=shown).status_code == 401
        for wrong in (closed.tokens["ana"], "", "x" * 9000, ";=;", '"'):
            assert other.get("/api/channels", headers={"Cookie": f"relay_session={wrong}"}).status_code == 401


def test_a_login_has_the_scopes_of_its_token(closed: ClosedHub, client: httpx.Client) -> None:
    log_in(client, closed.tokens["reader"])
    refused = send(client, "/channels/proj-x", target="proj-x", text="x")
    assert refused.status_code == 403
    assert "This needs the scope post, and reader has not got it." in refused.text


def test_logging_out_ends_the_login_and_no_other(closed: ClosedHub, client: httpx.Client) -> None:
    with httpx.Client(base_url=closed.hub.url, trust_env=False) as second:
        for each in (client, second):
            log_in(each, closed.tokens["ana"])
        cookie = client.cookies["relay_session"]
        assert send(client, "/logout").headers["location"] == "/login"
        assert "relay_session" not in client.cookies
        replayed = {"Cookie": f"relay_session={cookie}"}

        def is_over() -> bool:
            return httpx.get(f"{closed.hub.url}/api/channels", headers=replayed, trust_env=False).status_code == 401

        wait_until(is_over, "the cookie of a login that was ended did not stop to count")
        assert second.get("/api/channels").status_code == 200


def test_a_token_takes_its_logins_with_it(closed: ClosedHub, client: httpx.Client) -> None:
    log_in(client, closed.tokens["bob"])
    assert client.get("/dispatches").status_code == 200
    renewed = token_of(closed.hub, "rotate", "bob")
    assert client.get("/dispatches").headers["location"] == "/login?next=/dispatches"
    log_in(client, renewed)
    assert client.get("/dispatches").status_code == 200
    assert token_command(closed.hub, "revoke", "bob").returncode == 0
    assert client.get("/dispatches").status_code == 303
    assert log_in(client, renewed).status_code == 401


# In a browser.


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_person_logs_in_writes_and_logs_out(
    closed: ClosedHub, pages: Pages, channel: str, script: bool, scheme: str
) -> None:
    page = pages(java_script_enabled=script, color_scheme=scheme, viewport={"width": 360, "height": 720})
    page.goto(f"{closed.hub.url}/channels/{channel}")
    page.get_by_label("Your token").fill(closed.tokens["claude"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("This is the token of an agent, claude.")
    page.get_by_label("Your token").fill(closed.tokens["ana"])
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(f"{closed.hub.url}/channels/{channel}")
    assert page.evaluate("document.documentElement.scrollWidth") == 360 if script else True

    expect(page.get_by_label("Sender")).to_have_value("ana")
    expect(page.get_by_label("Sender")).not_to_be_editable()
    page.get_by_label("Message", exact=True).fill("hello")
    page.get_by_role("button", name="Send").click()
    message = page.get_by_role("article")
    expect(message).to_contain_text("human, logged in at this hub")
    expect(message.get_by_role("heading")).to_have_text("ana")
    if script:
        assert axe_problems(page) == []

    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{closed.hub.url}/login")
    page.goto(f"{closed.hub.url}/channels/{channel}")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    if script:
        assert axe_problems(page) == []


def test_an_open_page_says_that_its_login_has_ended(closed: ClosedHub, pages: Pages, channel: str) -> None:
    token = token_of(closed.hub, "create", channel, "--human")
    page = pages()
    page.goto(f"{closed.hub.url}/channels/{channel}")
    page.get_by_label("Your token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Sender")).to_have_value(channel)

    assert token_command(closed.hub, "revoke", channel).returncode == 0
    page.get_by_role("link", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/login\?next="))
