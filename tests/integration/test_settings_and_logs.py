"""Settings and logs of a started hub: where it listens, what it writes, and what goes on when it cannot write."""

import json
import re
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import agent
from tests.support.processes import run, wait_until

AS_SET = (sys.executable, "-c", "import sys; from app.__main__ import main; sys.exit(main(['serve']))")
"""A hub that is told no port by flag, so that the other sources decide."""
ACCESS = re.compile(r'relay_hub\.access: \S+ - "(?:GET|POST) (\S+) ')


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def post(hub: HubProcess, text: str = "hi", target: str = "proj-x") -> int:
    answer = hub.client.post("/api/messages", json={"target": target, "sender": "user", "text": text})
    assert answer.status_code == 201, answer.text
    posted: int = answer.json()["posted"]
    return posted


def log_of(hub: HubProcess, name: str = "LOG_PATH") -> Path:
    return Path(hub.environ[f"RELAY_HUB_{name}"])


def texts(hub: HubProcess) -> list[str]:
    return [message["text"] for message in hub.client.get("/api/messages").json()["messages"]]


def test_without_settings_the_hub_listens_on_loopback_8010_and_has_the_seeds_channels(hub: Hubs) -> None:
    try:
        socket.create_server(("127.0.0.1", 8010)).close()
    except OSError:
        pytest.skip("another program listens on port 8010")
    running = hub(command=AS_SET)
    assert running.url == "http://127.0.0.1:8010"
    assert running.client.get("/api/channels").json() == {"channels": ["claude", "codex", "proj-x"]}


@pytest.mark.parametrize("winner", ["RELAY_HUB_PORT", "config.json", "CLAUDE_CODEX_PORT"])
def test_the_port_comes_from_our_variable_then_the_file_then_the_seeds_variable(hub: Hubs, winner: str) -> None:
    # Whatever ranks below the winner names a port that is taken.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = dict.fromkeys(("RELAY_HUB_PORT", "config.json", "CLAUDE_CODEX_PORT"), taken.getsockname()[1])
        ports[winner] = free_port()
        for higher in list(ports)[: list(ports).index(winner)]:
            del ports[higher]
        file_port = ports.pop("config.json", None)
        prepared = hub.prepare(command=AS_SET, environ={name: str(port) for name, port in ports.items()})
        (prepared.folder / "config.json").write_text(json.dumps({} if file_port is None else {"port": file_port}))
        assert prepared.start().port == {**ports, "config.json": file_port}[winner]


def test_the_seeds_lists_are_split_and_stripped(hub: Hubs) -> None:
    running = hub(environ={"CLAUDE_CODEX_CHANNELS": " a, b ,,", "CLAUDE_CODEX_ALLOWED_HOSTS": " 1.2.3.4, h:80 ,"})
    assert running.client.get("/api/channels").json() == {"channels": ["a", "b"]}
    expected = {"1.2.3.4:9": 200, "1.2.3.4": 200, "h:80": 200, "h:81": 421, "1.2.3.5": 421}
    answers = {host: running.client.get("/healthz", headers={"Host": host}).status_code for host in expected}
    assert answers == expected


def test_a_broken_settings_file_is_one_warning(hub: Hubs) -> None:
    prepared = hub.prepare(channels="a")
    (prepared.folder / "config.json").write_text("{bad")
    prepared.start()
    assert prepared.client.get("/api/channels").json() == {"channels": ["a"]}
    (warning,) = [line for line in prepared.log.splitlines() if "warning" in line.lower()]
    assert warning.startswith("warning: config.json is ignored: ")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"log_max_mb": 0}, "log_max_mb must be > 0 (from RELAY_HUB_LOG_MAX_MB)"),
        ({"database_url": "postgresql://u:geheim@h/d"}, "database_url: must begin with postgresql+psycopg://"),
        (
            {"database_url": "postgresql+psycopg://u:geheim@127.0.0.1:1/d"},
            "Cannot open the database postgresql+psycopg:",
        ),
        ({"database_url": "sqlite:////dev/null/hub.db"}, "Cannot open the database /dev/null/hub.db"),
        ({"log_path": "/dev/null/log"}, "Cannot write the log /dev/null/log"),
        ({"data_dir": "{shared}"}, "is in use by "),
        ({"port": "{taken}"}, "Cannot start on 127.0.0.1, port {taken}"),
    ],
)
def test_a_hub_that_cannot_start_says_why_in_a_sentence(
    hub: Hubs, shared_hub: HubProcess, settings: dict[str, Any], reason: str
) -> None:
    facts = {"shared": shared_hub.environ["RELAY_HUB_DATA_DIR"], "taken": shared_hub.port}
    settings = {name: str(value).format(**facts) for name, value in settings.items()}
    refusing = hub.prepare(command=AS_SET, **settings)
    assert refusing.refusal() == 2
    assert re.search(f"^relay-hub: .*{re.escape(reason.format(**facts))}", refusing.log, re.MULTILINE)
    assert "Traceback" not in refusing.log
    assert "geheim" not in refusing.log


def command(hub: HubProcess, *arguments: str) -> str:
    """What `python -m app` prints with the hub's environment."""
    finished = run([sys.executable, "-m", "app", *arguments], cwd=hub.folder, environ=hub.environ)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_config_prints_each_value_with_its_source_and_no_secret(hub: Hubs) -> None:
    prepared = hub.prepare(
        database_url="postgresql+psycopg://me:geheim%40@db.local/relay?sslpassword=geheim&x=1",
        codex_args='["-c", "a.api_key=geheim", "b c"]',
        environ={"CLAUDE_CODEX_LOG_BACKUP_COUNT": "3", "RELAY_HUB_ENVELOPE": "two\nlines\x1b[31m"},
    )
    (prepared.folder / "config.json").write_text('{"log_max_mb": 7, "channels": ["a", "b"]}', "utf-8")
    shown = command(prepared, "config", "--port", "9000", "--debug", "true")
    values = dict(line.split(" = ", 1) for line in shown.splitlines())
    expected = {
        "port": "9000  (flag)",
        "debug": "true  (flag)",
        "database_url": "postgresql+psycopg://me:***@db.local/relay?sslpassword=***&x=1  (RELAY_HUB_DATABASE_URL)",
        "codex_args": "-c 'a.api_key=***' 'b c'  (RELAY_HUB_CODEX_ARGS)",
        "envelope": "two\\u000alines\\u001b[31m  (RELAY_HUB_ENVELOPE)",
        "log_max_mb": "7  (config.json)",
        "channels": "a,b  (config.json)",
        "log_backup_count": "3  (CLAUDE_CODEX_LOG_BACKUP_COUNT)",
        "channel_log_backup_count": "10  (default)",
    }
    assert {name: values[name] for name in expected} == expected
    assert "geheim" not in shown


def test_commands_that_need_no_hub_load_none(hub: Hubs) -> None:
    prepared = hub.prepare(environ={"PYTHONPROFILEIMPORTTIME": "1"})
    for arguments in (["config"], ["--help"], ["serve", "--help"], ["import", "--help"]):
        command_line = [sys.executable, "-m", "app", *arguments]
        finished = run(command_line, cwd=prepared.folder, environ=prepared.environ)
        loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in finished.stderr.splitlines()}
        assert "pydantic" in loaded
        assert not loaded & {"fastapi", "uvicorn", "sqlalchemy", "mcp", "jinja2", "httpx"}


def test_the_activity_log_rotates_at_the_seeds_number_of_bytes(hub: Hubs) -> None:
    variables = {"CLAUDE_CODEX_LOG_MAX_BYTES": "5000", "CLAUDE_CODEX_LOG_BACKUP_COUNT": "2"}
    running = hub(environ=variables)
    posted = [post(running) for _ in range(150)]
    running.stop()
    log = log_of(running)
    files = [Path(f"{log}.2"), Path(f"{log}.1"), log]
    assert sorted(log.parent.glob(f"{log.name}*")) == sorted(files)
    assert all(4500 < file.stat().st_size <= 5000 for file in files[:2])
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    ids = [json.loads(line.partition("post_message ")[2])["id"] for line in lines]
    assert ids == posted[-len(ids) :]


def test_mebibytes_in_a_variable_beat_bytes_in_the_file(hub: Hubs) -> None:
    prepared = hub.prepare(environ={"CLAUDE_CODEX_LOG_MAX_MB": "1"})
    (prepared.folder / "config.json").write_text('{"log_max_bytes": 300}', "utf-8")
    prepared.start()
    for _ in range(10):
        post(prepared)
    prepared.stop()
    log = log_of(prepared)
    assert len(log.read_text("utf-8").splitlines()) == 10
    assert list(log.parent.glob(f"{log.name}.*")) == []


def test_the_archive_rotates_and_keeps_its_number_of_backups(hub: Hubs) -> None:
    running = hub(channel_log_max_mb=1, channel_log_backup_count=2)
    for _ in range(12):
        post(running, "ü" * 200_000)
    running.stop()
    log = log_of(running, "CHANNEL_LOG_PATH")
    files = sorted(log.parent.glob(f"{log.name}*"))
    assert files == [log, Path(f"{log}.1"), Path(f"{log}.2")]
    assert all(file.stat().st_size <= 1024 * 1024 for file in files)


@pytest.mark.anyio
async def test_a_fetch_is_a_line_of_the_activity_log(hub: Hubs) -> None:
    running = hub()
    for _ in range(3):
        last = post(running, "geheim", "c2")
    async with agent(running) as codex:
        await codex.call("fetch_messages", target="c2", limit=2)
    running.stop()
    expected = {"target": "c2", "since_id": 0, "limit": 2, "returned": 2, "latest_id": last - 1}
    activity = log_of(running).read_text("utf-8")
    assert re.search(rf" INFO fetch_messages {re.escape(json.dumps(expected))}$", activity, re.MULTILINE)
    assert "geheim" not in activity


def request(path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer_of(connection: socket.socket) -> bytes:
    """The status line of the one answer on this connection."""
    with connection.makefile("rb") as answer:
        return answer.read().partition(b"\r\n")[0]


def test_pollers_leave_no_access_lines_and_slow_ones_mute_no_others(hub: Hubs) -> None:
    running = hub()
    for path in ("/api/messages", "/api/messages?since_id=0&limit=5", "/api/channels", "/healthz", "/api/messages/1"):
        for _ in range(5):
            running.client.get(path)
    slow = request("/api/messages", json.dumps({"target": "c", "sender": "s", "text": "t"}).encode())
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=30)) for _ in range(2)
        )
        # They overlap: first begins, second begins, first ends, second ends.
        first.sendall(slow[:-5])
        running.client.get("/nope/1")
        second.sendall(slow[:-5])
        running.client.get("/nope/2")
        first.sendall(slow[-5:])
        assert answer_of(first) == b"HTTP/1.1 201 Created"
        running.client.get("/nope/3")
        second.sendall(slow[-5:])
        assert answer_of(second) == b"HTTP/1.1 201 Created"
        running.client.get("/nope/4")
    wait_until(lambda: "/nope/4" in running.log, "the last line did not come")
    assert ACCESS.findall(running.log) == ["/nope/1", "/nope/2", "/nope/3", "/nope/4"]


def test_no_request_can_forge_a_line_of_the_access_log(hub: Hubs) -> None:
    running = hub()
    forged = "2026-01-01 00:00:00,000 INFO relay_hub.access: forged"
    hostile = [
        request(f"/nope%0a{forged.replace(' ', '%20')}%1b[31m%9b?q=%0a%1b"),
        request("/nope?\x9b31m"),
        request("/nope?\xe2\x80\xa8"),
        request("/nope", b"", f"X-Forwarded-For: 1.2.3.4\x9b31m, {forged}"),
        request("/nope\x1b[31m"),
        request("/mcp", b"{}", f"Mcp-Session-Id: \x9b{forged}"),
        request("/end"),
    ]
    for text in hostile:
        with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
            connection.sendall(text)
            assert answer_of(connection)
    wait_until(lambda: '"GET /end ' in running.log, "the last line did not come")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", running.log)
    assert not re.search(rf"^{forged}", running.log, re.MULTILINE)
    assert "1.2.3.4" not in running.log


def test_a_log_that_cannot_be_written_fails_no_post_and_goes_on_when_it_can(hub: Hubs) -> None:
    prepared = hub.prepare(log_max_bytes=1000, channel_log_max_bytes=1000)
    logs = [log_of(prepared), log_of(prepared, "CHANNEL_LOG_PATH")]
    logs[0].parent.mkdir(parents=True)
    for log in logs:
        log.symlink_to("/dev/full")
    prepared.start()
    sent = [f"message {number}" for number in range(30)]
    for text in sent[:-1]:
        post(prepared, text)
    wait_until(lambda: all(f"{log} cannot be written: " in prepared.log for log in logs), "no warning came")
    for log in logs:
        log.unlink()
    last = post(prepared, sent[-1])
    assert texts(prepared) == sent
    prepared.stop()
    assert "Traceback" not in prepared.log
    for log in logs:
        assert f'{{"id": {last}, ' in log.read_text("utf-8")


def test_a_hub_whose_logs_are_full_to_the_end_stops_cleanly(hub: Hubs) -> None:
    prepared = hub.prepare()
    log_of(prepared).parent.mkdir(parents=True)
    log_of(prepared).symlink_to("/dev/full")
    prepared.start()
    post(prepared)
    prepared.stop()
    assert "Traceback" not in prepared.log


def test_a_log_that_is_no_file_is_never_rotated(hub: Hubs) -> None:
    prepared = hub.prepare(log_max_bytes=300, channel_log_max_bytes=300)
    logs = [log_of(prepared), log_of(prepared, "CHANNEL_LOG_PATH")]
    logs[0].parent.mkdir(parents=True)
    for log in logs:
        log.symlink_to("/dev/null")
    prepared.start()
    for _ in range(20):
        post(prepared)
    prepared.stop()
    assert sorted(logs[0].parent.iterdir()) == sorted(logs)
    assert all(log.is_symlink() for log in logs)
