import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.codex.client import CodexClient
from app.codex.detached import kill_group, peer_pid
from app.codex.pool import Pool
from app.settings import Settings
from tests.fakes.codex import FakeCodex
from tests.support.codex import CodexHome


@pytest.fixture
def data_dir(short_path: Path) -> Iterator[Path]:
    """The hub's data folder. An app-server that listens in it at the end is ended."""
    folder = short_path / "data"
    yield folder
    for path in folder.rglob("*.sock"):
        with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(OSError):
            peer.connect(str(path))
            kill_group(peer_pid(peer))


@pytest.fixture
def fake(tmp_path: Path) -> FakeCodex:
    return FakeCodex(tmp_path / "fake", trusted=["/srv/p"], untrusted=["/srv/q"])


@pytest.fixture
def make_settings(tmp_path: Path, data_dir: Path, fake: FakeCodex) -> Callable[..., Settings]:
    """Settings for the scripted app-server."""

    def make(**values: Any) -> Settings:
        defaults = {"codex_command": str(fake.command), "codex_home": tmp_path / "home"}
        defaults |= {"data_dir": data_dir, "log_path": tmp_path / "log" / "activity.log"}
        return Settings(**(defaults | values))

    return make


@pytest.fixture
async def client(make_settings: Callable[..., Settings]) -> AsyncIterator[CodexClient]:
    """A client of the scripted app-server."""
    pool = Pool(make_settings())
    yield await pool.client()
    await pool.aclose()


@pytest.fixture
def real_settings(codex_home: CodexHome, data_dir: Path, tmp_path: Path) -> Settings:
    """Settings for the real Codex, whose model is the fake one."""
    return Settings(**codex_home.settings, data_dir=data_dir, log_path=tmp_path / "activity.log")


@pytest.fixture
async def real_client(real_settings: Settings) -> AsyncIterator[CodexClient]:
    """A client of the real Codex."""
    pool = Pool(real_settings)
    yield await pool.client()
    await pool.aclose()
