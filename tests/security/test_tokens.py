"""Tokens: how they are made and taken back, and what a hub says to those who show none, or a wrong one."""

import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from app.__main__ import main
from app.errors import HubError
from app.main import create_app
from app.models import OWNER
from app.security import owner_key
from app.security.gate import FREE, FREE_FOLDERS, MCP, WRITES, Gate
from app.security.principals import Found, Principals, is_loopback
from app.settings import Settings
from tests.support.hub import HubProcess, Hubs
from tests.support.mcp import ERAS, agent
from tests.support.tokens import ClosedHub, bearer, closed_hub, token_command, token_of

DOORS = (
    ("GET", "/api/channels"),
    ("GET", "/api/messages"),
    ("POST", "/api/messages"),
    ("POST", "/api/dispatches"),
    ("GET", "/api/events"),
    ("GET", "/api/nothing"),
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("DELETE", "/mcp/"),
    ("GET", "/live/channels/proj-x"),
    ("GET", "/"),
    ("GET", "/dispatches"),
    ("GET", "/openapi.json"),
    ("POST", "/api/pauses/resume"),
    ("PUT", "/nothing"),
)
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
MCP_HEADERS = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def closed() -> Iterator[ClosedHub]:
    """A hub with tokens of all kinds, and some that count no longer."""
    with closed_hub(
        claude=(),
        reader=("--scope", "read"),
        poster=("--scope", " post ,"),
        ana=("--human",),
        gone=(),
        renewed=(),
        late=("--expires", "0.000001"),
    ) as made:
        assert token_command(made.hub, "revoke", "gone").returncode == 0
        made.tokens["new"] = token_of(made.hub, "rotate", "renewed")
        yield made


def bad_credentials(closed: ClosedHub) -> dict[str, bytes | None]:
    good = closed.tokens["claude"].encode()
    session = "rh_" + "x" * 43
    return {
        "none": None,
        "empty": b"",
        "scheme alone": b"Bearer",
        "no token": b"Bearer \t.",
        "another scheme": b"Basic " + good,
        "no scheme": good,
        "unknown": b"Bearer rh_nobody",
        "looks right": f"Bearer {session}".encode(),
        "one too short": b"Bearer " + good[:-1],
        "two at once": b"Bearer " + good + b", " + good,
        "quoted": b'Bearer "' + good + b'"',
        "odd bytes": b"Bearer \xff\xfe\x80" + good,
        "long": b"Bearer " + b"x" * 20_000,
        "digest": b"Bearer " + b"0" * 64,
        "revoked": b"Bearer " + closed.tokens["gone"].encode(),
        "rotated": b"Bearer " + closed.tokens["renewed"].encode(),
        "expired": b"Bearer " + closed.tokens["late"].encode(),
    }


@pytest.mark.parametrize(("method", "path"), DOORS)
def test_every_door_refuses_whoever_is_not_known(closed: ClosedHub, method: str, path: str) -> None:
    for what, shown in bad_credentials(closed).items():
        headers: dict[str, Any] = {} if shown is None else {"Authorization": shown}
        answer = closed.hub.client.request(method, path, headers=headers, json={} if method == "POST" else None)
        assert answer.status_code == 401, (what, answer.text)
        assert answer.headers["www-authenticate"] == 'Bearer realm="relay-hub"', what
        assert answer.json()["code"] == "unauthenticated", what
        assert "relay-hub token" in answer.json()["error"] or "/login" in answer.json()["error"], what


@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/login", 200), ("/static/icon.svg", 200), ("/.well-known/oauth-protected-resource", 404)],
)
def test_what_needs_no_right_needs_no_token(closed: ClosedHub, path: str, status: int) -> None:
    assert closed.hub.client.get(path).status_code == status
    registered = closed.hub.client.post("/register", json={})
    assert (registered.status_code, registered.json()["code"]) == (404, "not_found")


def test_a_page_leads_to_the_login_and_back(closed: ClosedHub) -> None:
    answer = closed.hub.client.get("/search?q=a b&sender=x", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/search%3Fq%3Da%2520b%26sender%3Dx"


def test_a_token_opens_every_door_that_its_scopes_open(closed: ClosedHub) -> None:
    client = closed.hub.client
    message = {"target": "scopes", "text": "hello"}
    for name, reads, posts in (("claude", 200, 201), ("reader", 200, 403), ("poster", 403, 201), ("ana", 200, 201)):
        headers = closed.headers(name)
        assert client.get("/api/messages", headers=headers).status_code == reads, name
        assert client.get("/channels/scopes", headers=headers).status_code == reads, name
        assert client.post("/api/messages", json=message, headers=headers).status_code == posts, name
    assert client.get("/api/channels", headers=bearer(closed.tokens["new"])).status_code == 200

    refused = client.post("/api/dispatches", json={}, headers=closed.headers("reader"))
    assert (refused.json()["code"], refused.json()["details"]) == ("forbidden", {"scope": "dispatch"})
    assert client.post("/api/dispatches", json={}, headers=closed.headers("claude")).status_code == 400
    for path in ("/api/approvals/x", "/api/pauses/resume"):
        refused = client.post(path, json={"key": "none"}, headers=closed.headers("claude"))
        assert refused.status_code == 403, path
        assert refused.json()["details"]["scope"] in ("approve", "admin")
        assert client.post(path, json={"key": "none"}, headers=closed.headers("ana")).status_code in (400, 404), path


@pytest.mark.anyio
@pytest.mark.parametrize("era", ERAS)
async def test_each_tool_wants_its_scope(closed: ClosedHub, era: str) -> None:
    async with agent(closed.hub, era, closed.tokens["reader"]) as reader:
        listed = [tool.name for tool in (await reader.client.list_tools()).tools]
        assert "post_message" in listed
        await reader.call("fetch_messages", target="scopes")
        await reader.call("ack_messages", target="proj-x", up_to_id=0)
        refused = await reader.fail("post_message", target="scopes", text="x")
        assert (refused["relayCode"], refused["scope"]) == ("forbidden", "post")
        for tool in ("relay_dispatch_async", "relay_create_thread", "relay_dispatch_cancel", "relay_dispatch_recover"):
            assert (await reader.fail(tool))["scope"] == "dispatch", tool
    async with agent(closed.hub, era, closed.tokens["poster"]) as poster:
        await poster.call("post_message", target="scopes", text="x")
        for tool in ("fetch_messages", "wait_for_messages", "search_messages", "list_channels", "relay_list_projects"):
            assert (await poster.fail(tool))["scope"] == "read", tool
        assert (await poster.client.list_resources()).resources == []


def test_a_session_belongs_to_the_token_that_opened_it(closed: ClosedHub) -> None:
    client = closed.hub.client
    opened = client.post("/mcp", json=INITIALIZE, headers=MCP_HEADERS | closed.headers("claude"))
    session = MCP_HEADERS | {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    assert client.post("/mcp", json=listing, headers=session | closed.headers("claude")).status_code == 200
    for other in ("reader", "ana", "new"):
        assert client.post("/mcp", json=listing, headers=session | closed.headers(other)).status_code == 404
        assert client.get("/mcp", headers=session | closed.headers(other)).status_code == 404
        assert client.delete("/mcp", headers=session | closed.headers(other)).status_code == 404
    assert client.post("/mcp", json=listing, headers=session | bearer(key_of(closed.hub))).status_code == 404
    assert client.post("/mcp", json=listing, headers=session).status_code == 401
    assert client.post("/mcp", json=listing, headers=session | closed.headers("claude")).status_code == 200


def test_a_token_is_in_no_log_no_page_and_no_file(closed: ClosedHub) -> None:
    closed.hub.client.get("/", headers=closed.headers("claude"))
    closed.hub.client.get("/api/channels", headers=bearer("rh_wrong-but-secret"))
    page = closed.hub.client.get("/docs", headers=closed.headers("claude")).text
    folder = closed.hub.folder.parent
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    key = files.pop("owner-key")
    assert key.decode() == key_of(closed.hub)
    for secret in (*closed.tokens.values(), key.decode(), "rh_wrong-but-secret"):
        assert secret not in closed.hub.log + page
        for name, content in files.items():
            assert secret.encode() not in content, name


# Taking back.


def ended(lines: Iterator[str]) -> bool:
    """Whether a stream ends, as streams do whose hub ends them."""
    for _ in lines:
        pass
    return True


def test_a_revoked_token_ends_what_it_has_open(hub: Hubs) -> None:
    running = hub()
    claude, codex = (bearer(token_of(running, "create", name)) for name in ("claude", "codex"))
    with (
        httpx.Client(base_url=running.url, timeout=60, trust_env=False) as client,
        ThreadPoolExecutor(1) as pool,
        ExitStack() as streams,
    ):
        opened = client.post("/mcp", json=INITIALIZE, headers=MCP_HEADERS | claude)
        session = MCP_HEADERS | claude | {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        going = [
            streams.enter_context(client.stream("GET", path, headers=headers))
            for path, headers in (("/api/events", claude), ("/live/channels/proj-x", claude), ("/mcp", session))
        ]
        kept = streams.enter_context(client.stream("GET", "/api/events", headers=codex))
        assert {answer.status_code for answer in (*going, kept)} == {200}
        waiting = pool.submit(client.get, "/api/messages?wait=60", headers=claude)

        assert token_command(running, "revoke", "claude").returncode == 0
        assert client.get("/api/channels", headers=claude).status_code == 401
        assert client.post("/mcp", json=INITIALIZE, headers=session).status_code == 401
        assert all(ended(answer.iter_lines()) for answer in going)
        told = waiting.result(30)
        assert (told.status_code, told.json()["code"]) == (401, "unauthenticated")
        body = {"target": "proj-x", "text": "still here"}
        assert client.post("/api/messages", json=body, headers=codex).status_code == 201
        assert next(line for line in kept.iter_lines() if line.startswith("data: ")).find("still here") > 0


def test_the_first_token_closes_a_hub_that_runs_and_clearing_opens_it(hub: Hubs) -> None:
    running = hub()
    with running.client.stream("GET", "/api/events") as anonymous:
        token = token_of(running, "create", "claude")
        assert ended(anonymous.iter_lines())
    assert running.client.get("/api/channels").status_code == 401
    assert token_command(running, "revoke", "claude").returncode == 0
    assert running.client.get("/api/channels").status_code == 401, "a hub that was closed stays closed"
    cleared = token_command(running, "clear", "--yes")
    assert (cleared.returncode, cleared.stdout) == (0, "")
    assert running.client.get("/api/channels").status_code == 200
    # Whoever still shows the old one is let in as everybody is.
    assert running.client.get("/api/channels", headers=bearer(token)).status_code == 200
    assert running.client.get("/").status_code == 200


def test_two_hubs_on_one_postgresql_obey_a_revocation(hub: Hubs, postgres_url: str) -> None:
    hubs = [hub(database_url=postgres_url) for _ in range(2)]
    token = token_of(hubs[0], "create", "claude")
    for each in hubs:
        assert each.client.get("/api/channels").status_code == 401
        assert each.client.get("/api/channels", headers=bearer(token)).status_code == 200
    with hubs[1].client.stream("GET", "/api/events", headers=bearer(token)) as stream:
        assert token_command(hubs[0], "revoke", "claude").returncode == 0
        assert ended(stream.iter_lines())
    for each in hubs:
        assert each.client.get("/api/channels", headers=bearer(token)).status_code == 401


# The command.


def test_the_command_works_without_a_hub_and_prints_the_token_alone(hub: Hubs) -> None:
    prepared = hub.prepare()
    made = token_command(prepared, "create", "  claude ", "--expires", "30")
    assert re.fullmatch(r"rh_[\w-]{43}\n", made.stdout)
    assert made.stdout.strip() not in made.stderr
    listed = token_command(prepared, "list").stdout
    assert re.search(r"^claude +agent +read,post,dispatch +\S+ \S+ +\S+ \S+ +valid$", listed, re.MULTILINE)
    assert made.stdout.strip() not in listed
    assert prepared.start().client.get("/api/channels").status_code == 401
    assert prepared.client.get("/api/channels", headers=bearer(made.stdout.strip())).status_code == 200

    # A name whose token counts no longer can have a new one.
    assert token_command(prepared, "revoke", "claude").returncode == 0
    new = token_of(prepared, "create", "claude", "--human")
    shown = (made.stdout.strip(), new)
    assert [prepared.client.get("/", headers=bearer(token)).status_code for token in shown] == [401, 200]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "claude"), "There is a token claude already"),
        (("create", "a\nb"), "control characters"),
        (("create", ""), "name is required"),
        (("create", "x" * 300), "max_name_chars"),
        (("create", "x", "--scope", "read,everything"), "Scopes are: read, post, dispatch, approve, admin"),
        (("create", "x", "--scope", ""), "--scope names none"),
        (("create", "x", "--expires", "0"), "number of days above 0"),
        (("create", "x", "--expires", "nan"), "number of days above 0"),
        (("create", "x", "--expires", "1e300"), "number of days above 0"),
        (("rotate", "nobody"), "There is no token nobody"),
        (("revoke", "nobody"), "There is no token nobody"),
        (("rotate", "gone"), "relay-hub token create"),
        (("clear",), "--yes"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    closed: ClosedHub, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    # In this process: the command takes longer to import than to run.
    assert main(["token", *arguments, "--data-dir", closed.hub.environ["RELAY_HUB_DATA_DIR"]]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
    assert len(printed.err.splitlines()) == 1


# The hub's own key, and wide binds.


def key_of(hub: HubProcess) -> str:
    key = owner_key.read(Path(hub.environ["RELAY_HUB_DATA_DIR"]))
    assert key is not None
    return key


def test_the_owner_key_opens_everything_with_and_without_tokens(hub: Hubs, closed: ClosedHub) -> None:
    for running in (hub(), closed.hub):
        owner = bearer(key_of(running))
        file = Path(running.environ["RELAY_HUB_DATA_DIR"]) / "owner-key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert running.client.get("/api/channels", headers=owner).status_code == 200
        resumed = running.client.post("/api/pauses/resume", json={"key": "none"}, headers=owner)
        assert resumed.status_code == 404
        body = {"target": "c", "sender": "anybody", "text": "t"}
        posted = running.client.post("/api/messages", json=body, headers=owner).json()["message"]
        assert (posted["sender"], posted.get("badge")) == ("anybody", None)
    refused = running.client.post("/api/pauses/resume", json={"key": "none"})
    assert refused.status_code == 401


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX")
@pytest.mark.parametrize("content", ["", "rh_everybody-has-read-this", "\xff\xfe"])
def test_a_key_that_others_could_read_is_replaced(tmp_path: Path, content: str) -> None:
    file = tmp_path / "owner-key"
    file.write_bytes(content.encode("latin-1"))
    file.chmod(0o644)
    key = owner_key.ensure(tmp_path)
    assert key.startswith("rh_")
    assert key != content
    assert owner_key.ensure(tmp_path) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["owner-key"]


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.2", False),
        ("my-machine", False),
        ("localhost.example", False),
        ("2130706433", False),
    ],
)
def test_only_loopback_counts_as_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost.localdomain"])
def test_a_wider_bind_without_a_token_that_counts_refuses_to_start(hub: Hubs, host: str) -> None:
    prepared = hub.prepare(arguments=["--host", host])
    assert prepared.refusal() == 2
    assert "relay-hub token create" in prepared.log
    assert "Traceback" not in prepared.log


def test_a_wider_bind_with_a_token_starts_and_asks_everybody(hub: Hubs) -> None:
    prepared = hub.prepare(host="0.0.0.0")
    token = token_of(prepared, "create", "claude")
    port = prepared.start().port
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/api/channels").status_code == 401
        assert client.get("/api/channels", headers=bearer(token)).status_code == 200
        # Nobody is left who may come in: it stays closed to all but its owner, and does not start again.
        assert token_command(prepared, "revoke", "claude").returncode == 0
        assert client.get("/api/channels", headers=bearer(token)).status_code == 401
        assert client.get("/api/channels", headers=bearer(key_of(prepared))).status_code == 200
    prepared.stop()
    assert prepared.refusal() == 2


# The table of rights.


def routes_of(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from routes_of(route.effective_candidates())
        else:
            yield route


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path))


def test_the_right_for_every_write_is_named_and_nothing_else_is(app: FastAPI) -> None:
    writes = set()
    for route in routes_of(app.routes):
        methods = getattr(route, "methods", None)
        assert methods is not None or route.path in (*MCP, "/static"), "what takes every method is known to the gate"
        if methods and (changing := methods - {"GET", "HEAD"}):
            assert changing == {"POST"}, route.path
            writes.add(re.sub(r"\{[^}]+\}", "*", route.path.replace("{name:path}", "**")))
    assert writes - FREE == set(WRITES)
    assert not any(path.startswith(FREE_FOLDERS) for path in writes)


@pytest.mark.anyio
async def test_a_write_that_nobody_has_named_is_refused_even_to_the_owner() -> None:
    served = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])
        await PlainTextResponse("done")(scope, receive, send)

    async def failed(_: Request, error: HubError) -> Response:
        return PlainTextResponse(error.code, error.http_status)

    async def find(_: str) -> Found:
        return Found(OWNER, any_token=True)

    def exists(scope: Scope) -> bool:
        return not scope["path"].startswith("/nothing")

    gate = Gate(app, Principals(find, is_wide=True), exists, failed)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://hub") as client:
        for method, path in (
            ("POST", "/secret"),
            ("DELETE", "/api/messages"),
            ("PATCH", "/"),
            ("POST", "/dispatches/x/y"),
        ):
            assert (await client.request(method, path)).status_code == 403, path
        assert served == []
        # What has no route gets the app's own answer.
        assert (await client.post("/nothing")).text == "done"


def test_a_hub_with_tokens_says_at_its_start_how_to_come_in(hub: Hubs) -> None:
    running = hub()
    assert "Authorization" not in running.log
    token_of(running, "create", "claude")
    running.stop()
    running.start()
    assert f'relay {running.url}/mcp --header "Authorization: Bearer $RELAY_HUB_TOKEN"' in running.log
    assert f"--url {running.url}/mcp --bearer-token-env-var RELAY_HUB_TOKEN" in running.log
    assert "relay-hub token create NAME" in running.log


def test_whoever_may_approve_is_a_person(closed: ClosedHub) -> None:
    made = token_command(closed.hub, "create", "olga", "--scope", "read,approve")
    assert "a person, for no agent" in made.stderr
    listed = token_command(closed.hub, "list").stdout
    assert re.search(r"^olga\s+human\s", listed, re.MULTILINE), listed
