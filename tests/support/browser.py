"""A real browser: Playwright with the Chromium of the system, and an eye on what pages do."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.hub import HubProcess
from tests.support.parts import CHECKOUT, find_program, missing

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 10_000


@contextmanager
def running_browser(*flags: str) -> Iterator[Browser]:
    """Chromium for the length of a block, with more flags where a test needs them."""
    program = find_program("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


class Pages:
    """Opens pages, each in a window of its own, and notes whatever a page should not do.

    Call it with the options of a browser context: `new_page(color_scheme="dark")`,
    `new_page(java_script_enabled=False)`, `new_page(viewport={"width": 390, "height": 844})`.
    """

    def __init__(self, browser: Browser, hubs: Callable[[], Iterable[HubProcess]]) -> None:
        self._browser = browser
        self._hubs = hubs
        self._contexts: list[BrowserContext] = []
        self.problems: list[str] = []

    def __call__(self, **options: Any) -> Page:
        context = self._browser.new_context(**options)
        context.set_default_timeout(WAIT_MS)
        context.on("request", lambda request: self._check(request.url))
        context.on("console", self._note_console)
        context.on("weberror", lambda error: self.problems.append(f"script error: {error.error}"))
        self._contexts.append(context)
        return context.new_page()

    def _note_console(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(f"console error: {message.text} ({message.location.get('url', '')})")

    def _check(self, url: str) -> None:
        """Everything that a page asks for must come from a hub of this test."""
        parts = urlsplit(url)
        own = {urlsplit(hub.url).netloc for hub in self._hubs()}
        if parts.scheme not in ("data", "blob", "about") and parts.netloc not in own:
            self.problems.append(f"request to a foreign place: {url}")

    def end(self) -> None:
        for context in self._contexts:
            context.close()
        assert not self.problems, "\n".join(self.problems)


def cookies(page: Page) -> str:
    """The cookies of a page, as a browser sends them."""
    return "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in page.context.cookies(page.url))


def axe_problems(page: Page, *rules: str) -> list[str]:
    """What axe-core calls serious or critical on a page as it is now, by these rules or by all."""
    source = CHECKOUT / "tests" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        missing("axe-core is not installed: run scripts/test")
    page.evaluate(source.read_text("utf-8"))
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("options => axe.run(options)", options)
    return [
        f"{problem['id']}: {node['html'][:200]} {node['any'][0]['message'] if node['any'] else ''}"
        for problem in found["violations"]
        if problem["impact"] in ("serious", "critical")
        for node in problem["nodes"]
    ]
