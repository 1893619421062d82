"""The loop guard: turns that dispatch on and on are stopped, nothing is lost, and only a human lets them go on."""

import asyncio
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

from app.dispatch import loop_guard
from app.models import Dispatch, Origin
from app.settings import Settings
from app.storage import dispatches
from app.storage.database import Database, Tx
from tests.fakes.codex import FakeCodex
from tests.fakes.model import FakeModel
from tests.support.codex import CodexHome
from tests.support.forms import post_form
from tests.support.hub import HubProcess, Hubs
from tests.support.processes import wait_until
from tests.support.relay import Relay

pytestmark = pytest.mark.anyio

LONG = "delay=600000"
"""A turn that goes on until somebody stops it."""


class Chain:
    """A dispatched turn that works in a thread and calls the hub, on a scripted Codex."""

    def __init__(self, hubs: Hubs, folder: Path, **settings: Any) -> None:
        self.relay = Relay(hubs, folder / "codex", **settings)
        self.hub = self.relay.hub
        self.project, self.thread, self.other, self.source = self.relay.place("first", "other", "source")
        self.first = self.relay.accept(self.project, self.thread, LONG, callbackChannel="news")
        self.key = f"chain:{self.first}"
        self.hub.dispatch_when(self.first, "turnId", values=Turns())

    def ask(self, message: str = "on", thread: str | None = None, **more: Any) -> dict[str, Any]:
        """What the turn is told when it asks for a dispatch."""
        arguments = {"projectId": self.project, "threadId": thread or self.other, "message": message, **more}
        return asyncio.run(self._ask(arguments))

    async def _ask(self, arguments: dict[str, Any]) -> dict[str, Any]:
        async with Client(f"{self.hub.url}/mcp", mode="2026-07-28") as client:
            result = await client.call_tool("relay_dispatch_async", arguments, meta={"threadId": self.thread})  # type: ignore[typeddict-unknown-key]
        return dict(result.structured_content or {})

    @property
    def news(self) -> list[str]:
        found = self.hub.client.get("/api/messages?target=news").json()["messages"]
        return [message["text"] for message in found if message["sender"] == "relay-hub"]

    @property
    def pauses(self) -> list[dict[str, Any]]:
        return list(self.hub.client.get("/api/pauses").json()["pauses"])


class Turns:
    """Any turn at all."""

    def __contains__(self, turn_id: object) -> bool:
        return turn_id is not None


def as_owner(hub: HubProcess, key: str) -> httpx.Response:
    """Resume, as whoever can read the key in the hub's data folder."""
    secret = (hub.folder.parent / "data" / "owner-key").read_text()
    headers = {"Authorization": f"Bearer {secret}"}
    return hub.client.post("/api/pauses/resume", json={"key": key}, headers=headers)


@pytest.fixture
def chain(hub: Hubs, tmp_path: Path) -> Chain:
    """A chain that may ask for two dispatches in a minute."""
    return Chain(hub, tmp_path, max_chain_per_minute=2)


def test_a_chain_that_spends_its_budget_is_paused_and_what_it_asked_for_is_done(chain: Chain) -> None:
    taken = [chain.ask(f"job {n}")["dispatchId"] for n in range(2)]
    refused = chain.ask("one too many")
    assert (refused["relayCode"], refused["retryable"]) == ("loop_guard", False)
    assert "max_chain_per_minute" in refused["message"]
    assert f"relay-hub resume {chain.key}" in refused["message"]
    assert (refused["pause"], refused["chainId"]) == (chain.key, chain.first)
    again = chain.ask("still")
    assert again["relayCode"] == "loop_guard"
    for n, dispatch_id in enumerate(taken):
        done = chain.hub.dispatch_when(dispatch_id)
        assert done["replyText"] == f"echo: job {n}"
        assert (done["chainId"], done["callerDispatchId"], done["hops"]) == (chain.first, chain.first, 1)
    (pause,) = chain.pauses
    assert (pause["key"], pause["resumedAt"]) == (chain.key, None)
    # Its channel is told once, and nothing that was refused is anywhere.
    assert len(chain.news) == 1
    assert "max_chain_per_minute" in chain.news[0]
    assert not any("one too many" in text for text in chain.relay.sent(chain.other))
    # Who has nothing to do with it does not notice.
    assert chain.relay.done(chain.project, chain.other, "somebody else's")


def test_callbacks_into_threads_wait_while_their_chain_is_paused_and_arrive_when_it_goes_on(chain: Chain) -> None:
    asked = chain.ask(LONG, callbackThreadId=chain.source)["dispatchId"]
    chain.ask("second")
    assert chain.ask("third")["relayCode"] == "loop_guard"
    chain.hub.client.post(f"/api/dispatches/{asked}/cancel", json={})
    waiting = chain.hub.dispatch_when(asked, "callbackErrorCode", ["loop_guard"])
    assert waiting["callbackStatus"] == "pending"
    assert "is paused" in waiting["callbackErrorMessage"]
    # To bring it up again does not get it past the guard.
    told = chain.hub.client.post(f"/api/dispatches/{asked}/deliver", json={}).json()
    assert (told["callbackStatus"], told["callbackErrorCode"]) == ("pending", "loop_guard")
    assert chain.relay.sent(chain.source) == []
    assert as_owner(chain.hub, chain.key).status_code == 200
    done = chain.hub.dispatch_when(asked, "callbackStatus", ["delivered"])
    assert done["callbackErrorCode"] is None
    assert len(chain.relay.sent(chain.source)) == 1


def test_a_callback_belongs_to_the_chain_and_what_it_leads_to_goes_on_in_it(chain: Chain) -> None:
    asked = chain.ask("done soon", callbackThreadId=chain.source)["dispatchId"]
    chain.hub.dispatch_when(asked, "callbackStatus", ["delivered"])
    found = chain.hub.client.get(f"/api/dispatches?threadId={chain.source}").json()["dispatches"]
    assert [(row["chainId"], row["hops"], row["parentId"]) for row in found] == [(chain.first, 1, asked)]
    # Nobody asked for the callback, so it does not count.
    assert "dispatchId" in chain.ask("second")
    assert chain.ask("third")["relayCode"] == "loop_guard"


def test_only_a_human_resumes_and_budgets_count_from_then(chain: Chain) -> None:
    for n in range(3):
        chain.ask(f"{n}")
    refused = chain.hub.client.post("/api/pauses/resume", json={"key": chain.key})
    assert (refused.status_code, refused.json()["code"], refused.json()["details"]["scope"]) == (
        403,
        "forbidden",
        "admin",
    )
    assert chain.ask("still")["relayCode"] == "loop_guard"
    resumed = as_owner(chain.hub, chain.key).json()
    assert (resumed["key"], resumed["resumedBy"]) == (chain.key, "owner")
    assert chain.pauses == []
    assert [("relayCode" in chain.ask(f"more {n}")) for n in range(3)] == [False, False, True]
    assert len(chain.pauses) == 1
    assert len(chain.news) == 2


def test_what_was_never_paused_cannot_be_resumed_and_what_goes_on_stays_as_it_is(chain: Chain) -> None:
    for key in (chain.key, "chain:none", "home:/", "", "a\0b"):
        assert as_owner(chain.hub, key).status_code in (400, 404), key
    for n in range(3):
        chain.ask(f"{n}")
    first = as_owner(chain.hub, chain.key).json()
    assert as_owner(chain.hub, chain.key).json() == first


def test_the_pages_show_what_is_paused_and_have_a_button_for_it(chain: Chain) -> None:
    assert "Paused:" not in chain.hub.client.get("/dispatches").text
    with chain.hub.client.stream("GET", "/live/dispatches") as live:
        lines = live.iter_lines()
        for n in range(3):
            asked = chain.ask(f"{n}")
        assert any("Paused:" in line for line in lines)
    for page in ("/dispatches", f"/dispatches/{chain.first}"):
        text = chain.hub.client.get(page).text
        assert "max_chain_per_minute" in text
        assert f'formaction="/pauses/resume" name="key" value="{chain.key}"' in text
    assert asked["relayCode"] == "loop_guard"
    unproven = chain.hub.client.post("/pauses/resume", data={"key": chain.key}, headers={"Origin": chain.hub.url})
    assert unproven.status_code == 403
    assert len(chain.pauses) == 1
    assert post_form(chain.hub, "/pauses/resume", {"key": chain.key}).status_code == 303
    assert chain.pauses == []
    assert "Paused:" not in chain.hub.client.get(f"/dispatches/{chain.first}").text
    history = chain.hub.client.get(f"/dispatches/{chain.first}").text
    assert "resumed" in history


def test_the_command_lists_what_is_paused_and_resumes_it(chain: Chain) -> None:
    def command(*words: str) -> str:
        environ = {**chain.hub.environ, "RELAY_HUB_PORT": str(chain.hub.port)}
        run = [*chain.hub.command, "resume", *words]
        done = subprocess.run(run, env=environ, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    assert command() == "Nothing is paused.\n"
    for n in range(3):
        chain.ask(f"{n}")
    assert command().startswith(f"{chain.key}  ")
    assert "Nothing is paused under 'chain:x'" in command("chain:x")
    assert command(chain.key) == f"Resumed: {chain.key}\n"
    assert "dispatchId" in chain.ask("goes on")


def test_a_hub_over_its_own_budget_takes_no_more_also_after_a_restart(hub: Hubs, tmp_path: Path) -> None:
    relay = Relay(hub, tmp_path / "codex", max_dispatches_per_day=2)
    project, thread = relay.place("t")
    for n in range(2):
        relay.done(project, thread, f"{n}")
    body = {"projectId": project, "threadId": thread, "message": "x"}
    refused = relay.hub.client.post("/api/dispatches", json=body)
    assert (refused.status_code, refused.json()["code"]) == (429, "loop_guard")
    assert "max_dispatches_per_day" in refused.json()["error"]
    relay.hub.restart()
    assert relay.hub.client.post("/api/dispatches", json=body).status_code == 429
    (pause,) = relay.hub.client.get("/api/pauses").json()["pauses"]
    assert pause["key"].startswith("home:/")
    assert pause["key"] in relay.hub.client.get("/dispatches").text
    assert as_owner(relay.hub, pause["key"]).status_code == 200
    assert relay.hub.client.post("/api/dispatches", json=body).status_code == 202


def test_the_same_request_sent_again_costs_no_budget(hub: Hubs, tmp_path: Path) -> None:
    relay = Relay(hub, tmp_path / "codex", max_dispatches_per_minute=1)
    project, thread = relay.place("t")
    ids = {relay.accept(project, thread, "once", idempotencyKey="k") for _ in range(5)}
    assert len(ids) == 1
    assert relay.hub.client.get("/api/pauses").json()["pauses"] == []


def test_two_hubs_together_take_no_more_than_one_budget_allows(hub: Hubs, tmp_path: Path, postgres_url: str) -> None:
    fake = FakeCodex(tmp_path / "codex", trusted=["/srv/p"])
    threads = fake.add_threads(8, "/srv/p")
    settings = {
        "codex_command": fake.command,
        "codex_home": tmp_path / "home",
        "database_url": postgres_url,
        "max_dispatches_per_minute": 5,
    }
    hubs = [hub(**settings) for _ in range(2)]

    def accept(number: int) -> int:
        body = {"projectId": "/srv/p", "threadId": threads[number % 8], "message": f"{number}"}
        return httpx.post(f"{hubs[number % 2].url}/api/dispatches", json=body, timeout=30).status_code

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(accept, range(32)))
    assert (answers.count(202), answers.count(429)) == (5, 27)
    for each in hubs:
        assert len(each.client.get("/api/pauses").json()["pauses"]) == 1
    for row in hubs[0].client.get("/api/dispatches").json()["dispatches"]:
        hubs[0].dispatch_when(row["dispatchId"])


async def test_turns_of_the_real_codex_that_dispatch_on_are_stopped(
    hub: Hubs, codex_home: CodexHome, model: FakeModel
) -> None:
    running = hub(**codex_home.settings, codex_allow_relay=True, max_hops=10, max_chain_per_day=2)
    # Required: Codex then waits for its tools before it begins a turn.
    codex_home.append(f'[mcp_servers.relay]\nurl = "{running.url}/mcp"\nrequired = true\n')

    def calling(message: str, thread: str) -> str:
        asked = {"projectId": str(codex_home.project), "message": message, "threadName": thread}
        return f"[[call mcp__relay|relay_dispatch_async {json.dumps(asked | {'createIfMissing': True})}]]"

    # Each turn asks the next thread to go on, and the third time it is too much.
    message = "the end"
    for thread in ("d", "c", "b"):
        message = calling(message, thread)
    first = running.accept(
        projectId=str(codex_home.project), threadName="a", createIfMissing=True, message=message, callbackChannel="news"
    )["dispatchId"]
    wait_until(lambda: running.client.get("/api/pauses").json()["pauses"], "the chain was not paused", timeout=60)
    rows = running.client.get("/api/dispatches").json()["dispatches"]
    assert [(row["threadName"], row["hops"], row["chainId"]) for row in rows] == [
        ("c", 2, first),
        ("b", 1, first),
        ("a", 0, None),
    ]
    assert "loop_guard" in running.dispatch_when(rows[0]["dispatchId"])["replyText"]
    assert rows[0]["callerDispatchId"] == rows[1]["dispatchId"]
    asked = [each.prompt.text for each in model.asked if each.is_new]
    assert f'Codex thread "{rows[1]["threadId"]}" at work on dispatch "{rows[1]["dispatchId"]}".' in asked[-1]
    assert as_owner(running, f"chain:{first}").status_code == 200


@pytest.mark.parametrize("chained", [False, True])
async def test_what_a_hub_counts_does_not_grow_with_its_history(tmp_path: Path, chained: bool) -> None:
    database = Database(f"sqlite:///{tmp_path / 'hub.db'}", "hub")
    settings = Settings(data_dir=tmp_path, max_dispatches_per_day=50, max_chain_per_day=50)

    def dispatch(**more: Any) -> Dispatch:
        fields = {"home": "/home", "project_id": "/srv/p", "thread_id": "t", "thread_name": "t", "message": "m"}
        return Dispatch(origin=Origin.ASYNC, resolution="by_thread_id", **fields, **more)

    def fill(tx: Tx) -> None:
        for number in range(2000):
            dispatches.add(tx, dispatch(chain_id="c" if number % 2 else None, accepted_at=float(number)))

    def steps(tx: Tx) -> int:
        counted = 0

        def step() -> None:
            nonlocal counted
            counted += 1

        driver: Any = tx.connection.connection.driver_connection
        driver.set_progress_handler(step, 100)
        assert loop_guard.admit(tx, settings, dispatch(chain_id="c" if chained else None)) is None
        driver.set_progress_handler(None, 0)
        return counted

    await database.open()
    try:
        await database.write(fill)
        assert await database.write(steps) < 20
    finally:
        await database.close()


def test_a_key_that_a_shell_would_split_is_quoted_for_it() -> None:
    pause = loop_guard.Pause(key="home:/my home", reason="r")
    assert "relay-hub resume 'home:/my home'" in loop_guard.Paused(pause).message
