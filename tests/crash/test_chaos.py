"""Everything is killed at random moments while work arrives: `scripts/chaos`, for a short time."""

import pytest

from tests.live import chaos

SECONDS = 10


@pytest.mark.codex
@pytest.mark.timeout(300)
@pytest.mark.parametrize("hubs", [1, pytest.param(2, marks=pytest.mark.postgres)], ids=["one hub", "two hubs"])
def test_every_dispatch_ends_truly_and_is_told_once_whatever_is_killed(hubs: int) -> None:
    report = chaos.run(SECONDS, seed=7, hubs=hubs)
    print(report)
    assert report.findings == [], str(report)
    assert report.orders
