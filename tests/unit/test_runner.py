"""The runner where the database fails it: what has been sent is not declared lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.codex.pool import Pool
from app.dispatch.runner import Runner
from app.dispatch.targets import Targets
from app.errors import DatabaseUnavailable
from app.logs import Logs
from app.models import Dispatch, DispatchStatus, Origin
from app.settings import Settings
from app.storage import claims, dispatches, leases
from app.storage.database import Database
from tests.fakes.codex import FakeCodex

pytestmark = pytest.mark.anyio


class GoneAfterTheSend(Database):
    """Fails the write that follows the send."""

    async def write(self, unit: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if unit is leases.record_turn:
            raise DatabaseUnavailable("gone for a moment")
        return await super().write(unit, *args, **kwargs)


async def test_a_database_that_fails_after_the_send_leaves_the_dispatch_to_whoever_asks_the_thread(
    tmp_path: Path,
) -> None:
    fake = FakeCodex(tmp_path / "fake", trusted=["/srv/p"])
    (thread_id,) = fake.add_threads(1, "/srv/p")
    settings = Settings(
        codex_command=str(fake.command),
        codex_home=tmp_path / "home",
        data_dir=tmp_path,
        log_path=tmp_path / "activity.log",
        channel_log_path=tmp_path / "messages.log",
    )
    database = GoneAfterTheSend(settings.database, "hub")
    await database.open()
    pool = Pool(settings)
    logs = Logs(settings)
    try:
        runner = Runner(settings, database, pool, Targets(settings, database, pool), logs)
        waiting = Dispatch(
            origin=Origin.ASYNC,
            home=str(settings.codex_home),
            project_id="/srv/p",
            thread_id=thread_id,
            thread_name="t",
            resolution="by_thread_id",
            message="work",
        )
        await database.write(dispatches.add, waiting)
        claimed = await database.write(claims.claim, str(settings.codex_home), "hub", 30)
        assert claimed is not None
        with logs.open(), pytest.raises(DatabaseUnavailable):
            await runner.run(*claimed, left_behind=False)
        left = await database.read(dispatches.get, waiting.id)
    finally:
        await pool.aclose()
        await database.close()
    assert len(fake.received("turn/start")) == 1
    assert left is not None
    assert (left.status, left.finished_at) == (DispatchStatus.RUNNING, None)
