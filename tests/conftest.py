"""The fixtures of all tests. The real parts behind them live in `tests.support`, the fake ones in `tests.fakes`."""

import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.model import FakeModel
from tests.support.claude import Claude
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs
from tests.support.inspector import Inspector
from tests.support.parts import find_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.support.browser import Pages
    from tests.support.postgres import Postgres

REAL_PARTS = {
    "codex_command": "codex",
    "claude": "claude",
    "inspector": "inspector",
    "postgres": "postgres",
    "browser": "browser",
}
"""Fixtures that need a real program, and the marker that a test gets for using one: `pytest -m 'not codex'`."""


def pytest_configure() -> None:
    # As Ctrl+C: the fixtures then end their hubs, their Codexes and the database, which SIGTERM alone would orphan.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell that runs this in the background has it ignore Ctrl+C, and so would all programs that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in REAL_PARTS:
                item.add_marker(REAL_PARTS[fixture])


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A fresh folder with a short name: unix sockets must fit in 108 bytes, and pytest's folders do not."""
    folder = Path(tempfile.mkdtemp(prefix="t-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def model() -> Iterator[FakeModel]:
    """The fake model, running."""
    with FakeModel() as model:
        yield model


@pytest.fixture
def hub() -> Iterator[Hubs]:
    """Starts real hubs: `hub(**settings)`; see `tests.support.hub`."""
    hubs = Hubs()
    yield hubs
    hubs.end()


@pytest.fixture(scope="session")
def shared_hub() -> Iterator[HubProcess]:
    """One hub with default settings for every test that only asks: starting one takes longer than most tests.
    Tests keep apart by the names of their channels."""
    hubs = Hubs()
    yield hubs()
    hubs.end()


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return f"channel-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def codex_command() -> Path:
    """The real Codex."""
    return find_program("codex")


@pytest.fixture
def codex_home(short_path: Path, codex_command: Path, model: FakeModel) -> CodexHome:
    """A throw-away home of the real Codex that asks the fake model, with one trusted project."""
    return CodexHome(short_path, codex_command, model.url)


@pytest.fixture
def claude(tmp_path: Path, model: FakeModel) -> Claude:
    """The real Claude Code, asking the fake model."""
    return Claude(tmp_path, find_program("claude"), model.url)


@pytest.fixture
def inspector(tmp_path: Path) -> Inspector:
    """The official MCP Inspector."""
    return Inspector(tmp_path, find_program("mcp-inspector"))


@pytest.fixture(scope="session")
def postgres() -> Iterator["Postgres"]:
    """The PostgreSQL server of this run."""
    from tests.support.postgres import running_postgres

    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: "Postgres") -> Iterator[str]:
    """The URL of a fresh database."""
    with postgres.database() as url:
        yield url


# Not for the whole session: Playwright keeps its event loop running in the main thread, and tests with a loop of
# their own, in other modules, could not start it.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The real Chromium."""
    from tests.support.browser import running_browser

    with running_browser() as browser:
        yield browser


@pytest.fixture
def new_page(browser: "Browser", hub: Hubs, request: pytest.FixtureRequest) -> Iterator["Pages"]:
    """Opens pages, and fails the test on errors in the console or requests that leave its hubs."""
    from tests.support.browser import Pages

    shared = [request.getfixturevalue("shared_hub")] if "shared_hub" in request.fixturenames else []
    pages = Pages(browser, lambda: [*hub.started, *shared])
    yield pages
    pages.end()


@pytest.fixture
def page(new_page: "Pages") -> "Page":
    """One page."""
    return new_page()
