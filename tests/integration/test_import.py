"""`relay-hub import --channel-log`: what the seed kept in its archive is in the hub, once and in order."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from app.models import Message
from app.storage import messages
from app.storage.database import Database
from tests.support.hub import HubProcess, Hubs
from tests.support.processes import Finished, run, wait_until

ODD = " \n⟪naïve⟫ 🦀\x1b[31m\x85\x9b\u2028\r\n'); DROP TABLE message;-- \\ "


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The setting for each of the databases."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def relay(database_url: str, hub: Hubs) -> HubProcess:
    """A hub that is not started, on an empty database of each kind."""
    return hub.prepare(database_url=database_url)


def line(message_id: int, text: str = "hi", target: str = "proj-x", **more: Any) -> str:
    """A line as the seed wrote it."""
    message = {"id": message_id, "ts": 1770000000.0 + message_id / 8, "target": target, "sender": "claude"}
    message |= {"text": text, "source": "mcp"} | more
    return f"2026-02-12 10:11:12,123 {json.dumps(message, ensure_ascii=False)}\n"


def write(path: Path, lines: Iterable[str], mode: str = "w") -> Path:
    with path.open(mode, encoding="utf-8", newline="") as file:
        file.writelines(lines)
    return path


def command(log: Path, *more: str) -> list[str | Path]:
    return [sys.executable, "-m", "app", "import", "--channel-log", log, *more]


def take(relay: HubProcess, log: Path) -> Finished:
    """Import a log into the hub's database."""
    finished = run(command(log), cwd=relay.folder, environ=relay.environ)
    assert "Traceback" not in finished.stderr
    return finished


def taken(relay: HubProcess, log: Path) -> list[str]:
    """Import a log, which must go well; the lines of the summary."""
    finished = take(relay, log)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def stored(relay: HubProcess) -> list[Message]:
    """All messages by id, after a look at the channels' counts."""

    async def read() -> list[Message]:
        database = Database(url_of(relay), "test")
        await database.open()
        try:
            channels = await database.read(messages.channels)
            found = await database.read(messages.after, None, 0, 1_000_000)
        finally:
            await database.close()
        for channel in channels:
            assert channel.message_count == sum(message.target == channel.name for message in found)
        return found

    return asyncio.run(read())


def url_of(relay: HubProcess) -> str:
    return (
        relay.environ.get("RELAY_HUB_DATABASE_URL") or f"sqlite:///{relay.environ['RELAY_HUB_DATA_DIR']}/relay-hub.db"
    )


def test_an_archive_and_its_rotations_arrive_with_ids_times_and_order(relay: HubProcess, tmp_path: Path) -> None:
    log = tmp_path / "channel_messages.log"
    numbers = iter(range(3, 100, 2))  # other channels' ids are in between
    for name in (f"{log}.10", f"{log}.2", f"{log}.1", f"{log}"):
        write(Path(name), [line(next(numbers), f"from {name}") for _ in range(3)])
    write(log, [line(100, ODD, "codex", sender="user", source="web-ui")], "a")
    write(tmp_path / "channel_messages.log.old", [line(1, "not a rotation")])

    assert taken(relay, log) == ["13 messages imported, 0 were here already."]

    relay.start()
    found = relay.client.get("/api/messages", params={"since_id": 0, "limit": 500}).json()["messages"]
    assert [(m["id"], m["ts"]) for m in found] == [(n, 1770000000.0 + n / 8) for n in range(3, 27, 2)]
    assert [m["text"].removeprefix(f"from {log}") for m in found] == [*[".10"] * 3, *[".2"] * 3, *[".1"] * 3, *[""] * 3]
    (odd,) = relay.client.get("/api/messages?target=codex").json()["messages"]
    expected = {"id": 100, "ts": 1770000012.5, "target": "codex", "sender": "user", "text": ODD, "source": "web-ui"}
    assert odd == expected
    hits = relay.client.get("/api/messages/search", params={"q": "naïve"}).json()["messages"]
    assert [hit["id"] for hit in hits] == [100]
    post = {"target": "proj-x", "sender": "user", "text": "new"}
    assert relay.client.post("/api/messages", json=post).json()["posted"] == 101


def test_importing_again_changes_nothing_and_takes_what_is_new(relay: HubProcess, tmp_path: Path) -> None:
    log = write(tmp_path / "log", [line(n, f"first {n}") for n in range(1, 6)])
    write(log, [line(n, f"second {n}") for n in range(1, 4)], "a")
    assert taken(relay, log)[0] == "8 messages imported, 0 were here already."
    before = stored(relay)

    assert taken(relay, log) == ["0 messages imported, 8 were here already."]
    assert stored(relay) == before

    # The relay goes on and rotates; what was oldest is deleted.
    log.rename(tmp_path / "log.1")
    write(log, [line(4, "second 4")])
    assert taken(relay, log)[0] == "1 messages imported, 8 were here already."
    write(tmp_path / "log.1", [line(2, "second 2"), line(3, "second 3")])
    assert taken(relay, log)[0] == "0 messages imported, 3 were here already."
    assert [(m.id, m.text) for m in stored(relay)] == [
        *((n, f"first {n}") for n in range(1, 6)),
        *((n + 5, f"second {n}") for n in range(1, 5)),
    ]


def test_ids_that_began_again_are_replaced_and_the_order_stays(relay: HubProcess, tmp_path: Path) -> None:
    runs = [[4, 5, 9], [1, 2], [1, 11, 12, 40], [1]]
    log = write(tmp_path / "log", [line(n, f"run {r}") for r, ids in enumerate(runs) for n in ids])
    assert taken(relay, log) == [
        "10 messages imported, 0 were here already.",
        "4 kept their ids. 6 got new ones, #10 to #41, because an id must be greater than all that are there.",
    ]
    assert [(m.id, m.text) for m in stored(relay)] == [
        (4, "run 0"), (5, "run 0"), (9, "run 0"),
        (10, "run 1"), (11, "run 1"),
        (12, "run 2"), (13, "run 2"), (14, "run 2"), (40, "run 2"),
        (41, "run 3"),
    ]  # fmt: skip
    write(log, [line(2, "run 3")], "a")
    assert taken(relay, log)[0] == "1 messages imported, 10 were here already."
    assert stored(relay)[-1].id == 42


def test_messages_that_are_in_the_hub_already_keep_their_ids(relay: HubProcess, tmp_path: Path) -> None:
    relay.start()
    for text in ("a", "b", "c"):
        relay.client.post("/api/messages", json={"target": "proj-x", "sender": "user", "text": text})
    relay.stop()
    log = write(tmp_path / "log", [line(2), line(3, "hi", "new"), line(9)])

    summary = taken(relay, log)

    assert summary[1].startswith("1 kept their ids. 2 got new ones, #4 to #5, ")
    assert [(m.id, m.target) for m in stored(relay)] == [
        *((n, "proj-x") for n in (1, 2, 3, 4)),
        (5, "new"),
        (9, "proj-x"),
    ]
    assert taken(relay, log) == ["0 messages imported, 3 were here already."]


def test_an_import_that_is_killed_and_run_again_ends_as_one_that_was_not(
    relay: HubProcess, hub: Hubs, tmp_path: Path
) -> None:
    log = write(tmp_path / "log", (line(n % 9000 + 1, f"message {n}") for n in range(24_000)))
    with subprocess.Popen(
        command(log), cwd=relay.folder, env=relay.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as importing:
        wait_until(lambda: importing.poll() is not None or seen(relay), "nothing was stored", timeout=60)
        importing.send_signal(signal.SIGKILL)
        importing.communicate()
    assert importing.returncode == -signal.SIGKILL
    assert 0 < len(stored(relay)) < 24_000

    taken(relay, log)
    whole = hub.prepare()
    taken(whole, log)

    found = stored(relay)
    assert found == stored(whole)
    assert [message.text for message in found] == [f"message {n}" for n in range(24_000)]
    assert taken(relay, log) == ["0 messages imported, 24000 were here already."]


def seen(relay: HubProcess) -> bool:
    """Whether messages are stored, as somebody sees it who does not own the database."""
    import sqlalchemy as sa

    engine = sa.create_engine(url_of(relay), poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return connection.execute(sa.text("SELECT max(id) FROM message")).scalar() is not None
    except sa.exc.DBAPIError:
        return False  # there are no tables yet
    finally:
        engine.dispose()


BROKEN = [
    ("nonsense\n", "does not begin with a time"),
    ('{"id": 1}\n', "does not begin with a time"),
    ("2026-02-12 10:11:12,123 INFO post_message {}\n", "broken or cut off"),
    (line(7)[:60] + "\n", "broken or cut off"),
    ("2026-02-12 10:11:12,123 " + "[" * 100_000 + "\n", "broken or cut off"),
    ("2026-02-12 10:11:12,123 [1]\n", "no JSON object"),
    (line(0), "id is not a whole number from 1 on"),
    (line(1, id=True), "id is not a whole number from 1 on"),
    (line(1, id=2**53), "id is not a whole number from 1 on"),
    (line(1, id="1"), "id is not a whole number from 1 on"),
    (line(1, ts=float("nan")), "ts is not a time in unix seconds"),
    (line(1, ts=1e300), "ts is not a time in unix seconds"),
    (line(1, ts="now"), "ts is not a time in unix seconds"),
    (line(1, text=None), "text is not a text"),
    (line(1, target=" "), "target must have 1 to 200 characters (max_name_chars)"),
    (line(1, sender="x" * 201), "sender must have 1 to 200 characters (max_name_chars)"),
    (line(1, sender="a\nb"), "sender must not contain control characters"),
    (line(1, "a\0b"), "text contains a NUL character"),
    (line(1, "SURROGATE").replace("SURROGATE", "\\ud800"), "text contains a broken surrogate pair"),
]


@pytest.mark.parametrize("part", [BROKEN[start : start + 5] for start in range(0, len(BROKEN), 5)])
def test_lines_that_are_no_messages_are_named_and_the_others_taken(
    hub: Hubs, tmp_path: Path, part: list[tuple[str, str]]
) -> None:
    relay = hub.prepare()
    lines = [text for number, (broken, _) in enumerate(part, 1) for text in (broken, line(number))]
    log = write(tmp_path / "log", lines)
    assert taken(relay, log) == [
        f"{len(part)} messages imported, 0 were here already.",
        f"{len(part)} lines hold no message that can be stored and were left out:",
        *(f"  {log}:{number * 2 + 1}: {reason}" for number, (_, reason) in enumerate(part)),
    ]
    assert [message.id for message in stored(relay)] == list(range(1, len(part) + 1))


def test_a_line_without_end_is_passed_over_and_a_half_one_taken_once_it_is_whole(hub: Hubs, tmp_path: Path) -> None:
    relay = hub.prepare()
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(70 * 1024 * 1024)
    whole = line(2, "late")
    write(log, ["\n", line(1), whole[:50]], "a")
    assert taken(relay, log)[2:] == [
        f"  {log}:1: does not begin with a time",
        f"  {log}:3: broken or cut off",
    ]
    write(log, [whole[50:], *["x\n"] * 7], "a")
    summary = taken(relay, log)
    assert summary[0] == "1 messages imported, 1 were here already."
    assert summary[1].startswith("8 lines ")
    assert len(summary) == 2 + 5 + 1
    assert [message.text for message in stored(relay)] == ["hi", "late"]


def test_the_hubs_own_archive_can_be_imported(hub: Hubs, tmp_path: Path) -> None:
    relay, other = hub(), hub.prepare()
    for text in (ODD, "hi", "hi"):
        relay.client.post("/api/messages", json={"target": "proj-x", "sender": "user", "text": text})
    relay.stop()
    archive = Path(relay.environ["RELAY_HUB_CHANNEL_LOG_PATH"])

    assert taken(relay, archive) == ["0 messages imported, 3 were here already."]
    assert taken(other, archive) == ["3 messages imported, 0 were here already."]
    assert stored(other) == stored(relay)


def test_a_database_that_a_hub_has_open_is_refused_with_its_name(shared_hub: HubProcess, tmp_path: Path) -> None:
    refused = take(shared_hub, write(tmp_path / "log", [line(1)]))
    assert refused.returncode == 2
    assert f"is in use by {shared_hub.environ['RELAY_HUB_NODE']}" in refused.stderr
    assert refused.stdout == ""


def test_what_hubs_post_on_postgresql_meanwhile_keeps_ids_of_its_own(
    postgres_url: str, hub: Hubs, tmp_path: Path
) -> None:
    running = hub(database_url=postgres_url)
    log = write(tmp_path / "log", (line(n, f"old {n}") for n in range(1, 12_001)))
    posted = []
    with subprocess.Popen(
        command(log), cwd=running.folder, env=running.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as importing:
        while importing.poll() is None:
            post = {"target": "proj-x", "sender": "user", "text": f"new {len(posted)}"}
            answer = running.client.post("/api/messages", json=post)
            assert answer.status_code == 201, answer.text
            posted.append(answer.json()["posted"])
        output, _ = importing.communicate()
    assert importing.returncode == 0, output

    found = stored(running)
    assert [message.id for message in found if message.sender == "user"] == posted
    assert [message.text for message in found if message.sender == "claude"] == [f"old {n}" for n in range(1, 12_001)]
    newest = running.client.get("/api/messages?target=proj-x&limit=1").json()["messages"]
    assert newest[0]["id"] == found[-1].id


@pytest.mark.parametrize("name", ["nothing.log", "."])
def test_a_log_that_cannot_be_read_is_named(hub: Hubs, tmp_path: Path, name: str) -> None:
    relay = hub.prepare()
    refused = take(relay, tmp_path / name)
    assert refused.returncode == 2
    assert str(tmp_path / name) in refused.stderr
    assert not Path(relay.environ["RELAY_HUB_DATA_DIR"]).exists()
