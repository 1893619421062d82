"""The bus: hints that may be merged, and never block whoever gives them."""

import asyncio

import pytest

from app.bus import Bus, BusClosed

pytestmark = pytest.mark.anyio


async def test_a_hint_that_came_before_the_wait_counts() -> None:
    bus = Bus()
    with bus.subscribe("a") as hints:
        bus.publish(["a"])
        assert await hints.wait(5)


async def test_many_hints_are_one() -> None:
    bus = Bus()
    with bus.subscribe("a", "b") as hints:
        bus.publish(["a", "b", "a"])
        assert await hints.wait(5)
        assert not await hints.wait(0)


async def test_only_those_who_asked_are_told() -> None:
    bus = Bus()
    with bus.subscribe("a") as hints:
        bus.publish(["b"])
        assert not await hints.wait(0)


async def test_closing_ends_every_wait_now_and_later() -> None:
    bus = Bus()
    with bus.subscribe("a") as hints:
        waiting = asyncio.ensure_future(hints.wait(5))
        bus.close()
        with pytest.raises(BusClosed):
            await waiting
    with bus.subscribe("a") as late, pytest.raises(BusClosed):
        await late.wait(5)


async def test_a_reader_that_left_is_forgotten() -> None:
    bus = Bus()
    with bus.subscribe("a") as gone:
        pass
    bus.publish(["a"])
    assert not await gone.wait(0)
