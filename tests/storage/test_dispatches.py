"""Dispatches: the line of a thread, the claim, the lease, the callback."""

import asyncio
import time
from typing import Any

import pytest
from sqlmodel import Session

from app.models import TRANSITIONS, CallbackStatus, Dispatch, DispatchStatus, Lease, Origin, Outcome
from app.storage import callbacks as told
from app.storage import claims, dispatches, leases, threads
from app.storage.database import Database, Tx

pytestmark = pytest.mark.anyio

HOME = "/home/codex"
SUCCESS = Outcome(DispatchStatus.SUCCEEDED, "turn-1", reply_text="done")


async def accept(database: Database, thread: str = "t1", only_if_free: bool = False, **more: Any) -> Dispatch:
    fields = {"origin": Origin.ASYNC, "message": "work", **more}
    dispatch = Dispatch(
        home=HOME, project_id="/srv/p", thread_id=thread, thread_name=thread, resolution="by_thread_id", **fields
    )
    return await database.write(dispatches.add, dispatch, only_if_free=only_if_free)


async def claim(database: Database, owner: str = "me", lease_sec: float = 30) -> tuple[Dispatch, Lease]:
    found = await database.write(claims.claim, HOME, owner, lease_sec)
    assert found is not None
    return found


async def nothing_to_claim(database: Database) -> bool:
    return await database.write(claims.claim, HOME, "me", 30) is None


async def test_a_claim_takes_the_oldest_and_counts_the_attempt(database: Database) -> None:
    first = await accept(database, "t1")
    await accept(database, "t2")
    dispatch, lease = await claim(database)
    assert dispatch.id == first.id
    assert dispatch.status is DispatchStatus.RUNNING
    assert lease == Lease(first.id, "me", 1)


async def test_of_one_thread_only_the_head_of_the_line_can_be_claimed(database: Database) -> None:
    await accept(database)
    second = await accept(database)
    _, lease = await claim(database)
    assert await nothing_to_claim(database)
    await database.write(leases.finish, lease, SUCCESS)
    dispatch, _ = await claim(database)
    assert dispatch.id == second.id


async def test_a_dispatch_past_its_limit_keeps_its_thread(database: Database) -> None:
    await accept(database)
    await accept(database)
    _, lease = await claim(database)
    await database.write(leases.time_out, lease, "too slow")
    assert await nothing_to_claim(database)
    finished = await database.write(leases.finish, lease, SUCCESS)
    assert finished.status is DispatchStatus.SUCCEEDED
    assert finished.error_code is None
    assert not await nothing_to_claim(database)


async def test_another_home_is_left_alone(database: Database) -> None:
    await accept(database)
    assert await database.write(claims.claim, "/other", "me", 30) is None


async def test_a_released_dispatch_keeps_its_place_and_waits(database: Database) -> None:
    first = await accept(database)
    await accept(database)
    _, lease = await claim(database)
    await database.write(leases.release, lease, "another Codex has it", 3600)
    assert await nothing_to_claim(database)
    await database.write(leases.expire)
    await database.write(_due_now, first.id)
    dispatch, again = await claim(database)
    assert dispatch.id == first.id
    assert again.attempt == 2


def _due_now(tx: Tx, dispatch_id: str) -> None:
    row = dispatches.get(tx.session, dispatch_id)
    assert row is not None
    row.not_before = 0
    tx.session.add(row)


async def test_an_outdated_lease_writes_nothing(database: Database) -> None:
    await accept(database)
    _, old = await claim(database, "gone")
    await database.write(leases.expire, "gone")
    taken = await database.write(claims.take_over, HOME, "me", 30)
    assert taken is not None
    _, fresh = taken
    for write in (
        lambda tx: leases.finish(tx, old, SUCCESS),
        lambda tx: leases.record_turn(tx, old, "turn-9"),
        lambda tx: leases.release(tx, old, "no"),
        lambda tx: leases.time_out(tx, old, "no"),
    ):
        with pytest.raises(leases.LeaseLost):
            await database.write(write)
    finished = await database.write(leases.finish, fresh, SUCCESS)
    assert finished.attempt == 2


async def test_a_live_lease_is_not_taken_over(database: Database) -> None:
    await accept(database)
    await claim(database, "alive")
    assert await database.write(claims.take_over, HOME, "me", 30) is None


async def test_a_lease_that_runs_out_is_taken_over_by_one(database: Database) -> None:
    await accept(database)
    await claim(database, "dead", lease_sec=-1)
    taken = await asyncio.gather(*(database.write(claims.take_over, HOME, f"hub {n}", 30) for n in range(5)))
    assert len([found for found in taken if found]) == 1


async def test_renewing_names_the_leases_that_are_still_held(database: Database) -> None:
    await accept(database, "t1")
    await accept(database, "t2")
    (_, first), (_, second) = await claim(database), await claim(database)
    await database.write(leases.finish, first, SUCCESS)
    ids = [first.dispatch_id, second.dispatch_id]
    assert await database.write(leases.renew, "me", ids, 30) == {second}
    row = await database.read(dispatches.get, second.dispatch_id)
    assert row is not None
    assert (row.lease_expires_at or 0) > time.time() + 20


async def test_claims_of_two_hubs_never_meet_and_keep_each_threads_order(database: Database, second: Database) -> None:
    accepted: dict[str, list[str]] = {}
    for n in range(60):
        dispatch = await accept(database, f"t{n % 6}")
        accepted.setdefault(dispatch.thread_id, []).append(dispatch.id)
    done: dict[str, list[str]] = {}
    busy: set[str] = set()

    async def work(hub: Database, owner: str) -> None:
        while found := await hub.write(claims.claim, HOME, owner, 30):
            dispatch, lease = found
            assert dispatch.thread_id not in busy
            busy.add(dispatch.thread_id)
            done.setdefault(dispatch.thread_id, []).append(dispatch.id)
            await asyncio.sleep(0)
            busy.remove(dispatch.thread_id)
            await hub.write(leases.finish, lease, SUCCESS)

    async with asyncio.timeout(60):
        while sum(map(len, done.values())) < 60:
            await asyncio.gather(*(work(hub, f"{n}") for n, hub in enumerate([database, second] * 4)))
    assert done == accepted


async def test_who_waits_is_told_what_is_in_the_way(database: Database) -> None:
    first = await accept(database)
    with pytest.raises(dispatches.LineOccupied) as occupied:
        await accept(database, only_if_free=True)
    assert occupied.value.active.id == first.id
    await accept(database, "t2", only_if_free=True)


async def test_of_many_who_want_a_free_thread_for_themselves_one_gets_it(database: Database) -> None:
    results = await asyncio.gather(*(accept(database, only_if_free=True) for _ in range(12)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Dispatch", *["LineOccupied"] * 11]


async def test_history_tells_the_whole_way(database: Database) -> None:
    dispatch = await accept(database)
    _, lease = await claim(database)
    await database.write(leases.record_turn, lease, "turn-1")
    await database.write(leases.finish, lease, SUCCESS)
    events = await database.read(dispatches.history, dispatch.id)
    assert [event.kind for event in events] == ["accepted", "claimed", "sent", "succeeded"]


async def test_a_finished_dispatch_is_remembered_with_its_thread(database: Database) -> None:
    await accept(database)
    before = await database.read(threads.get, HOME, "t1")
    assert before is not None
    _, lease = await claim(database)
    await database.write(leases.finish, lease, SUCCESS)
    await accept(database)
    (after,) = await database.read(threads.of_project, HOME, "/srv/p")
    assert after.last_turn_id == "turn-1"
    assert after.created_at == before.created_at
    assert after.last_used_at >= before.last_used_at


async def test_pages_go_from_the_newest_to_the_oldest(database: Database) -> None:
    ids = [(await accept(database)).id for _ in range(5)]
    seen: list[str] = []
    cursor = None
    while page := await database.read(dispatches.page, 2, cursor):
        seen += [dispatch.id for dispatch in page]
        cursor = page[-1].seq
    assert seen == ids[::-1]


async def test_a_callback_is_due_once_its_dispatch_has_ended_and_until_it_is_under_way(database: Database) -> None:
    parent = await accept(database, callback_thread_id="source", callback_status=CallbackStatus.PENDING)
    assert await database.read(told.due, HOME) == []
    _, lease = await claim(database)
    await database.write(leases.finish, lease, SUCCESS)
    assert [due.id for due in await database.read(told.due, HOME)] == [parent.id]
    await accept(database, "source", parent_id=parent.id)
    assert await database.read(told.due, HOME) == []


@pytest.mark.parametrize("status", list(DispatchStatus))
async def test_no_status_changes_but_by_the_table(database: Database, status: DispatchStatus) -> None:
    await accept(database)
    _, lease = await claim(database)

    def set_status(tx: Tx) -> None:
        row = dispatches.get(tx.session, lease.dispatch_id)
        assert row is not None
        row.status = status
        tx.session.add(row)

    await database.write(set_status)
    changes = {
        DispatchStatus.QUEUED: lambda tx: leases.release(tx, lease, ""),
        DispatchStatus.TIMED_OUT: lambda tx: leases.time_out(tx, lease, ""),
        DispatchStatus.SUCCEEDED: lambda tx: leases.finish(tx, lease, SUCCESS),
    }
    for target, change in changes.items():
        if target in TRANSITIONS[status]:
            continue
        with pytest.raises(leases.LeaseLost):
            await database.write(change)


async def test_what_waits_in_long_lines_costs_no_question_of_the_engine(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("SQLite's planner says in words what it does")

    def fill(tx: Tx) -> None:
        for number in range(300):
            waiting = Dispatch(
                origin=Origin.ASYNC,
                home=HOME,
                project_id="/srv/p",
                thread_id=f"t{number % 3}",
                thread_name="t",
                resolution="by_thread_id",
                message="work",
            )
            tx.session.add(waiting)

    await database.write(fill)
    for _ in range(3):
        await claim(database)
    assert await nothing_to_claim(database)

    def steps(session: Session) -> int:
        """How many hundreds of steps the database takes; with a look at each dispatch it would be many times more."""
        counted = 0

        def step() -> None:
            nonlocal counted
            counted += 1

        driver: Any = session.connection().connection.driver_connection
        driver.set_progress_handler(step, 100)
        ahead = claims.outlook(session, HOME)
        driver.set_progress_handler(None, 0)
        assert not ahead.is_waiting
        return counted

    assert await database.read(steps) < 10
