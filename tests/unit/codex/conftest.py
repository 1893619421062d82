from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.codex.client import CodexClient
from app.codex.pool import Pool
from app.settings import Settings
from tests.fakes.codex import FakeCodex
from tests.support.codex import CodexHome


@pytest.fixture
def fake(tmp_path: Path) -> FakeCodex:
    return FakeCodex(tmp_path / "fake", trusted=["/srv/p"], untrusted=["/srv/q"])


@pytest.fixture
def make_settings(tmp_path: Path, fake: FakeCodex) -> Callable[..., Settings]:
    """Settings for the scripted app-server."""

    def make(**values: Any) -> Settings:
        defaults = {"codex_command": str(fake.command), "codex_home": tmp_path / "home"}
        return Settings(**(defaults | values))

    return make


@pytest.fixture
async def client(make_settings: Callable[..., Settings]) -> AsyncIterator[CodexClient]:
    """A client of the scripted app-server."""
    pool = Pool(make_settings())
    yield await pool.client()
    await pool.aclose()


@pytest.fixture
def real_settings(codex_home: CodexHome) -> Settings:
    """Settings for the real Codex, whose model is the fake one."""
    return Settings(**codex_home.settings)


@pytest.fixture
async def real_client(real_settings: Settings) -> AsyncIterator[CodexClient]:
    """A client of the real Codex."""
    pool = Pool(real_settings)
    yield await pool.client()
    await pool.aclose()
