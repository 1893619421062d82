"""Pages of a real hub in the real Chromium."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.storage.database import Database
from tests.support.browser import Pages
from tests.support.hub import HubProcess

Post = Callable[..., int]
Work = Callable[[Database], Coroutine[Any, Any, Any]]


@pytest.fixture
def live_hub(shared_hub: HubProcess) -> HubProcess:
    """A hub whose channels all tests share. Modules that need one of their own put it in its place."""
    return shared_hub


@pytest.fixture
def place(channel: str) -> str:
    """The channel that the test looks at."""
    return channel


@pytest.fixture
def post(live_hub: HubProcess, place: str) -> Callable[..., int]:
    """Post as an agent does; returns the message's id."""

    def post(text: str, target: str = place, sender: str = "claude", **more: Any) -> int:
        message = {"target": target, "sender": sender, "text": text, **more}
        answer = live_hub.client.post("/api/messages", json=message)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["posted"])

    return post


@pytest.fixture
def in_database() -> Callable[[HubProcess, Work], Any]:
    """Do something with the database of a hub that is not running."""

    def in_database(hub: HubProcess, work: Work) -> Any:
        async def opened() -> Any:
            path = Path(hub.environ["RELAY_HUB_DATA_DIR"]) / "relay-hub.db"
            database = Database(f"sqlite:///{path}", "test")
            await database.open()
            try:
                return await work(database)
            finally:
                await database.close()

        # Playwright's loop occupies this thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, opened()).result()

    return in_database


@pytest.fixture
def forgive(new_page: Pages) -> Callable[[str], None]:
    """Forget the console errors that a test has caused on purpose: browsers log every failed request."""

    def forgive(text: str) -> None:
        expected = [problem for problem in new_page.problems if text in problem]
        assert expected, f"no problem mentions {text!r}"
        new_page.problems[:] = [problem for problem in new_page.problems if problem not in expected]

    return forgive
