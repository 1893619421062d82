"""A hub with a real database and no workers: what pages and streams read."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.hub import Hub
from app.settings import Settings


@pytest.fixture
async def quiet_hub(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Hub]:
    settings = Settings(
        data_dir=tmp_path,
        codex_home=tmp_path,
        log_path=tmp_path / "activity.log",
        channel_log_path=tmp_path / "messages.log",
        channels=("proj-x",),
    )
    hub = Hub(settings)
    with hub.logs.open():
        await hub.database.open()
        async with hub.chat.run():
            yield hub
        hub.bus.close()
        await hub.database.close()
