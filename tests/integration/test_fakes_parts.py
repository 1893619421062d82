"""The other real parts of the tests work: PostgreSQL, the Inspector, Chromium, and the watch over pages."""

from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.support.browser import Pages
from tests.support.inspector import Inspector
from tests.support.serving import serving


@pytest.mark.parametrize("turn", ["first", "second"])
def test_each_test_has_an_empty_database_of_its_own(postgres_url: str, turn: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE mine (name text)")
        connection.execute("INSERT INTO mine VALUES (%s)", [turn])
        assert connection.execute("SELECT name FROM mine").fetchall() == [(turn,)]


def test_the_inspector_lists_and_calls_tools(inspector: Inspector, echo_server: str) -> None:
    url = f"{echo_server}/mcp"

    assert [tool["name"] for tool in inspector.tools(url)] == ["echo"]
    assert inspector.call(url, "echo", text="hi")["content"][0]["text"] == "heard: hi"


class StandIn:
    """As much of a hub as the watch over pages asks for."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture
def stand_in() -> Iterator[str]:
    async def show(request: Request) -> Response:
        return HTMLResponse(f"<!doctype html><title>A page</title><main>{request.query_params['html']}</main>")

    app = Starlette(routes=[Route("/", show), Route("/favicon.ico", lambda _: Response(status_code=204))])
    with serving(app) as served:
        yield served.url


@pytest.fixture
def pages(browser: Browser, stand_in: str) -> Pages:
    return Pages(browser, lambda: [StandIn(stand_in)])  # type: ignore[list-item]


def test_a_page_that_behaves_is_accepted(pages: Pages, stand_in: str) -> None:
    page = pages(viewport={"width": 390, "height": 844})
    page.goto(f"{stand_in}/?html=<p>hello</p>")

    expect(page.get_by_text("hello")).to_be_visible()
    pages.end()


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ("<script>console.error('broken')</script>", "console error: broken"),
        ("<script>throw new Error('unhandled')</script>", "script error: "),
        ("<img src='FOREIGN/pixel.png'>", "request to a foreign place"),
        ("<script>new EventSource('FOREIGN/events')</script>", "request to a foreign place"),
    ],
)
def test_a_page_that_misbehaves_fails_its_test(pages: Pages, stand_in: str, html: str, problem: str) -> None:
    page = pages()
    foreign = stand_in.replace("127.0.0.1", "localhost")
    page.goto(f"{stand_in}/?html={html.replace('FOREIGN', foreign)}", wait_until="networkidle")

    with pytest.raises(AssertionError, match=problem):
        pages.end()
