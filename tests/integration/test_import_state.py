"""`relay-hub import --relay-state`: what the seed knew of dispatches is in the hub, once, and nothing runs again."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from app.models import Thread
from app.storage import threads
from app.storage.database import Database
from tests.fakes.codex import FakeCodex
from tests.support.hub import HubProcess, Hubs
from tests.support.processes import Finished, run

RECORD = {
    "dispatchId": "d-1",
    "projectId": "/srv/p",
    "threadId": "t-1",
    "threadName": "worker",
    "message": "do it",
    "timeoutSec": 60,
    "created": True,
    "resolution": "created_new",
    "turnId": "u-1",
    "dispatchStatus": "succeeded",
    "callbackThreadId": "t-0",
    "callbackStatus": "delivered",
    "callbackTurnId": "u-2",
    "replyText": "done\nand more 🦀",
    "errorCode": None,
    "errorMessage": None,
    "callbackErrorCode": None,
    "callbackErrorMessage": None,
    "createdAt": "2026-04-01T10:00:00.000Z",
    "acceptedAt": "2026-04-01T10:00:00.125Z",
    "updatedAt": "2026-04-01T10:01:00.250Z",
    "callbackDeliveredAt": "2026-04-01T10:01:30.500Z",
    "timingMs": 59000,
    "warning": "a warning",
}
"""As the seed wrote it; every field has a value of its own that a dispatch of the hub shows again."""
THREAD = {
    "threadId": "t-1",
    "name": "worker",
    "projectId": "/srv/p",
    "createdAt": "2026-04-01T10:00:00.000Z",
    "lastUsedAt": "2026-04-01T10:01:00.000Z",
    "lastTurnId": "u-1",
}
LAST_USED = 1775037660.0


@pytest.fixture(params=["sqlite", "postgresql"])
def relay(request: pytest.FixtureRequest, hub: Hubs) -> HubProcess:
    """A hub that is not started, on an empty database of each kind."""
    is_sqlite = request.param == "sqlite"
    return hub.prepare(database_url="" if is_sqlite else request.getfixturevalue("postgres_url"))


def record(number: int, **more: Any) -> dict[str, Any]:
    """A record of the seed with an id and a minute of its own."""
    return RECORD | {"dispatchId": f"d-{number}", "acceptedAt": f"2026-04-01T10:{number:02}:00.000Z"} | more


def write(folder: Path, records: list[Any] | None = None, remembered: list[Any] | None = None, **more: Any) -> Path:
    state = {"version": 3, "createdThreads": remembered or [], "dispatchRecords": records or []}
    leases = {"activeDispatches": [{"threadId": "t-1"}], "dispatchLeases": [{"dispatchId": "d-1"}]}
    path = folder / "state.json"
    path.write_text(json.dumps(state | leases | more))
    return path


def take(relay: HubProcess, *words: str | Path) -> Finished:
    finished = run([sys.executable, "-m", "app", "import", *words], cwd=relay.folder, environ=relay.environ)
    assert "Traceback" not in finished.stderr
    return finished


def taken(relay: HubProcess, state: Path) -> list[str]:
    """Import a state, which must go well; the lines of the summary."""
    finished = take(relay, "--relay-state", state)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def remembered(relay: HubProcess) -> list[Thread]:
    """The threads of /srv/p that the hub remembers."""
    folder = relay.environ["RELAY_HUB_DATA_DIR"]

    async def read() -> list[Thread]:
        database = Database(relay.environ.get("RELAY_HUB_DATABASE_URL") or f"sqlite:///{folder}/relay-hub.db", "test")
        await database.open()
        try:
            return await database.read(threads.of_project, relay.environ["RELAY_HUB_CODEX_HOME"], "/srv/p")
        finally:
            await database.close()

    return asyncio.run(read())


def test_dispatches_come_whole_and_in_their_order(relay: HubProcess, tmp_path: Path) -> None:
    records = [record(3), RECORD | {"unknown": "field"}, record(2)]
    assert taken(relay, write(tmp_path, records, [THREAD])) == [
        "3 dispatches imported, 0 were here already.",
        "1 threads remembered, 0 were here already.",
    ]

    relay.start()
    shown = relay.dispatch("d-1")
    assert {key: shown[key] for key in RECORD} == RECORD
    listed = relay.client.get("/api/dispatches").json()["dispatches"]
    assert [dispatch["dispatchId"] for dispatch in listed] == ["d-3", "d-2", "d-1"]
    assert "imported" in relay.client.get("/dispatches/d-1").text
    assert relay.client.get("/dispatches").status_code == 200


def test_importing_again_changes_nothing_and_takes_what_is_new(relay: HubProcess, tmp_path: Path) -> None:
    taken(relay, write(tmp_path, [record(1)], [THREAD]))
    before = remembered(relay)
    changed = THREAD | {"name": "older", "lastUsedAt": "2026-04-01T10:00:59.000Z", "lastTurnId": "u-0"}

    again = taken(relay, write(tmp_path, [record(1, replyText="changed")], [changed]))

    assert again == ["0 dispatches imported, 1 were here already.", "0 threads remembered, 1 were here already."]
    assert remembered(relay) == before
    assert [(thread.name, thread.last_used_at, thread.last_turn_id) for thread in before] == [
        ("worker", LAST_USED, "u-1")
    ]
    changed |= {"lastUsedAt": "2026-04-01T10:01:01.000Z", "createdAt": "2026-04-01T10:00:30.000Z"}
    more = taken(relay, write(tmp_path, [record(1), record(2)], [changed]))
    assert more == ["1 dispatches imported, 1 were here already.", "1 threads remembered, 0 were here already."]
    (thread,) = remembered(relay)
    assert (thread.name, thread.last_used_at) == ("older", LAST_USED + 1)
    assert thread.created_at == before[0].created_at
    relay.start()
    assert relay.dispatch("d-1")["replyText"] == RECORD["replyText"]


def test_what_the_seed_had_under_way_never_runs_again(hub: Hubs, tmp_path: Path) -> None:
    codex = FakeCodex(tmp_path / "fake", trusted=["/srv/p"])
    (thread,) = codex.add_threads(1, "/srv/p")
    relay = hub.prepare(codex_command=codex.command)
    left = {"threadId": thread, "callbackThreadId": None, "replyText": None}
    records = [
        record(1, **left, dispatchStatus="running", errorCode="turn_timeout"),
        record(2, **left, dispatchStatus="queued", turnId=None),
        record(3, **left, dispatchStatus="dreaming"),
        record(4, **left, dispatchStatus="timed_out", errorCode="turn_timeout", errorMessage="too late"),
    ]
    assert taken(relay, write(tmp_path, records))[1] == (
        "3 of them were not finished. They have failed (turn_interrupted), so that no turn runs twice: look at their "
        "threads."
    )

    relay.start()
    # The line of the thread is free: the hub comes to what is accepted now.
    accepted = relay.accept(projectId="/srv/p", threadId=thread, message="new")
    assert relay.dispatch_when(accepted["dispatchId"])["replyText"] == "echo: new"
    assert len(codex.received("turn/start")) == 1
    running, queued, dreaming, timed_out = (relay.dispatch(f"d-{number}") for number in range(1, 5))
    for unfinished in (running, queued, dreaming):
        assert (unfinished["dispatchStatus"], unfinished["errorCode"]) == ("failed", "turn_interrupted")
        assert f"look at the thread {thread}" in unfinished["errorMessage"]
    assert running["turnId"] == "u-1"
    assert "Its turn u-1 may have run to its end" in running["errorMessage"]
    assert "Nobody knows whether its message was sent" in queued["errorMessage"]
    ended = {"dispatchStatus": "timed_out", "errorCode": "turn_timeout", "errorMessage": "too late"}
    assert {key: timed_out[key] for key in ended} == ended


def test_a_callback_that_the_seed_still_owed_is_delivered_at_the_next_start(hub: Hubs, tmp_path: Path) -> None:
    codex = FakeCodex(tmp_path / "fake", trusted=["/srv/p"])
    (source,) = codex.add_threads(1, "/srv/p")
    relay = hub.prepare(codex_command=codex.command)
    owed = {"callbackThreadId": source, "callbackStatus": "pending", "callbackDeliveredAt": None}
    records = [record(1, **owed), record(2, callbackThreadId=None, callbackStatus="pending")]
    assert taken(relay, write(tmp_path, records))[1] == (
        "1 callbacks are pending; the hub delivers them when it starts."
    )

    relay.start()
    relay.dispatch_when("d-1", "callbackStatus", ["delivered"])
    (turn,) = codex.received("turn/start")
    told = turn["params"]["input"][0]["text"]
    assert (turn["params"]["threadId"], '"dispatchId": "d-1"' in told) == (source, True)
    assert relay.dispatch("d-2")["callbackStatus"] == "not_requested"


def test_an_entry_is_read_as_leniently_as_the_seed_read_it(relay: HubProcess, tmp_path: Path) -> None:
    odd = {
        "dispatchId": " d-1 ",
        "projectId": "\\srv\\p",
        "threadId": "t-1",
        "message": "\n a\0b \ud800 ",
        "dispatchStatus": "failed",
        "threadName": " ",
        "timeoutSec": -1,
        "timingMs": 2**40,
        "created": "yes",
        "callbackStatus": "lost",
        "callbackThreadId": "t-0",
        "createdAt": "yesterday",
        "acceptedAt": None,
        "updatedAt": "2026-04-01T12:00:00+02:00",
    }
    old = {"threadId": "t-9", "projectId": "C:\\work", "lastUsedAt": 5}
    assert taken(relay, write(tmp_path, [odd], [old], version=2))[0].startswith("1 dispatches imported")

    relay.start()
    expected = {
        "projectId": "/srv/p",
        "threadName": "t-1",
        "message": "a\ufffdb ?",
        "resolution": "by_thread_id",
        "created": False,
        "timeoutSec": None,
        "timingMs": None,
        "callbackStatus": "not_requested",
        **dict.fromkeys(("createdAt", "acceptedAt", "updatedAt"), "2026-04-01T10:00:00.000Z"),
    }
    shown = relay.dispatch("d-1")
    assert {key: shown[key] for key in expected} == expected


def test_what_lacks_its_ids_is_counted_and_named(hub: Hubs, tmp_path: Path) -> None:
    lacking = [
        "text",
        RECORD | {"dispatchId": " "},
        RECORD | {"dispatchId": "d-2", "threadId": 7, "message": ""},
        {"dispatchId": "d-3"},
    ]
    lines = taken(hub.prepare(), write(tmp_path, [*lacking, RECORD], [{"threadId": "t-1"}, THREAD, 5]))
    assert lines == [
        "1 dispatches imported, 0 were here already.",
        "1 threads remembered, 0 were here already.",
        "6 entries are incomplete and were left out:",
        "  dispatchRecords[0]: no JSON object",
        "  dispatchRecords[1]: without dispatchId",
        "  dispatchRecords[2] dispatchId d-2: without threadId, message",
        "  dispatchRecords[3] dispatchId d-3: without projectId, threadId, message",
        "  createdThreads[0] threadId t-1: without projectId",
        "  …",
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"version": 3,\n "dispatchRecords": [{"dis', "is broken or cut off: line 2, column "),
        ("", "is broken or cut off: line 1, column 1 is no JSON"),
        ("[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("[]", "is no state of the older relay: there is neither dispatchRecords nor createdThreads in it"),
        ('{"version": 3}', "is no state of the older relay: there is neither dispatchRecords nor createdThreads in it"),
        ('{"dispatchRecords": {}}', "is no state of the older relay: dispatchRecords is not a list"),
        ('{"version": 4, "dispatchRecords": []}', "has version 4; only versions up to 3 are known"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_is_no_state_is_refused_and_nothing_is_taken(
    hub: Hubs, tmp_path: Path, content: str | bytes | None, complaint: str
) -> None:
    relay = hub.prepare()
    path = tmp_path / "state.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    archive = tmp_path / "log"
    archive.touch()
    refused = take(relay, "--relay-state", path, "--channel-log", archive)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert str(path) in refused.stderr
    assert complaint in refused.stderr
    assert not Path(relay.environ["RELAY_HUB_DATA_DIR"]).exists()


def test_an_archive_and_a_state_can_be_taken_together_but_not_neither(hub: Hubs, tmp_path: Path) -> None:
    relay = hub.prepare()
    archive = tmp_path / "log"
    message = {"id": 1, "ts": 1.0, "target": "proj-x", "sender": "claude", "text": "hi", "source": "mcp"}
    archive.write_text(f"2026-02-12 10:11:12,123 {json.dumps(message)}\n")
    both = take(relay, "--relay-state", write(tmp_path, [RECORD]), "--channel-log", archive)
    assert both.returncode == 0, both.stderr
    assert both.stdout.splitlines() == [
        "1 messages imported, 0 were here already.",
        "1 dispatches imported, 0 were here already.",
        "0 threads remembered, 0 were here already.",
    ]
    neither = take(relay)
    assert (neither.returncode, neither.stdout) == (2, "")
    assert "--channel-log FILE, --relay-state FILE, or both" in neither.stderr
