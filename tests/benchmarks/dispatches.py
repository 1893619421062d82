"""Dispatches on the real Codex with the fake model: what the hub adds to a turn, and what history costs it."""

import contextlib
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure, compared
from tests.benchmarks.generator import Plan
from tests.benchmarks.idle import megabytes
from tests.benchmarks.load import run_load
from tests.benchmarks.mcp_wire import MODERN, call
from tests.benchmarks.wire import Client, get, post
from tests.fakes.model import FakeModel
from tests.support.app_server_client import AppServerClient
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess
from tests.support.parts import find_program

THREADS = 24
TURN_SEC = 5
ACCEPTING = 16
SOME = 100
"""Finished dispatches to hold many against."""
WAIT_SEC = 120

_FINISHED = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < :count)
INSERT INTO dispatch (
    id, origin, home, project_id, thread_id, thread_name, created, resolution, message, status, turn_id, reply_text,
    timing_ms, callback_status, created_at, accepted_at, updated_at, started_at, finished_at, attempt, not_before
)
SELECT
    'old-' || n, 'async', :home, :project, 'thread-' || (n % 50), 'thread', 0, 'by_thread_id', 'Work ' || n,
    'succeeded', 'turn-' || n, 'Done ' || n, 100, 'not_requested', n, n, n, n, n, 1, 0
FROM number
"""


def run(bench: Bench) -> Iterator[Figure]:
    """All figures of the engine."""
    turns = bench.scale.posts
    with tempfile.TemporaryDirectory(prefix="codex-") as folder, FakeModel() as model:
        home = CodexHome(Path(folder), find_program("codex"), model.url)
        hub = bench.start_hub(**home.settings, max_turns=THREADS)
        threads = [_thread(hub, home, f"t{number}") for number in range(THREADS if turns > 2 else 2)]
        yield _own_share(hub, home, threads[0], turns)
        yield _side_by_side(hub, home, threads, TURN_SEC if turns > 2 else 0.1)
        yield _accepting(bench, hub, home, threads[0], model)
        yield from _memory(hub, threads, 15 * turns)
        hub.kill()
        yield from _history(bench, home, threads[1])


def _own_share(hub: HubProcess, home: CodexHome, thread: str, turns: int) -> Figure:
    """An instant turn through the hub, less the same requests sent to an app-server by hand."""
    pairs = []
    with AppServerClient(home) as codex, Client(hub.port) as client:
        other = codex.request("thread/start", cwd=str(home.project))["thread"]["id"]
        codex.request("thread/name/set", threadId=other, name="by hand")
        ask = call(MODERN, "/mcp", "relay_send_wait", {"threadId": thread, "message": "[[reply x]]"})
        for _ in range(turns + 1):
            began = time.perf_counter()
            client.ask(ask)
            ours = time.perf_counter() - began
            began = time.perf_counter()
            codex.request("thread/read", threadId=other, includeTurns=False)
            codex.request("thread/resume", threadId=other, excludeTurns=True)
            codex.turn(other, "[[reply x]]")
            codex.request("thread/unsubscribe", threadId=other)
            pairs.append((1000 * ours, 1000 * (time.perf_counter() - began)))
    # The first turn of a thread loads what the others have.
    share = statistics.median(ours - theirs for ours, theirs in pairs[1:])
    both = compared("", "ms", pairs[1:])
    note = f"through the hub {both.hub:.0f} ms, by hand {both.against:.0f} ms"
    return Figure("the hub's own share of an instant turn", "ms", share, at_most=20, note=note)


def _side_by_side(hub: HubProcess, home: CodexHome, threads: list[str], seconds: float) -> Figure:
    def ask(thread: str) -> None:
        arguments = {"threadId": thread, "message": f"[[slow {seconds}]] [[reply x]]"}
        with Client(hub.port) as client:
            client.ask(call(MODERN, "/mcp", "relay_send_wait", arguments))

    began = time.monotonic()
    with ThreadPoolExecutor(len(threads)) as askers:
        list(askers.map(ask, threads))
    ours = time.monotonic() - began
    with AppServerClient(home) as codex:
        others = [codex.request("thread/start", cwd=str(home.project))["thread"]["id"] for _ in threads]
        began = time.monotonic()
        for other in others:
            text = f"[[slow {seconds}]] [[reply x]]"
            codex.request("turn/start", threadId=other, input=[{"type": "text", "text": text}])
        for _ in others:
            codex.wait_for(lambda line: line.get("method") == "turn/completed")
        by_hand = time.monotonic() - began
    name = f"{len(threads)} turns of {seconds:g} s each, side by side, and by hand"
    return Figure(name, "s", ours, by_hand, at_most=7)


def _accepting(bench: Bench, hub: HubProcess, home: CodexHome, thread: str, model: FakeModel) -> Figure:
    """Accepts while their thread is busy, so that nothing of them runs meanwhile."""
    body = {"projectId": str(home.project), "threadId": thread, "message": "[[gate accepts]]"}
    with Client(hub.port) as client:
        client.ask(post("/api/dispatches", body))
        model.wait_at_gate("accepts")
        load = run_load(hub, Plan(post("/api/dispatches", {**body, "message": "next"}), ACCEPTING, bench.scale.seconds))
        waiting = _page(client, "status=queued&limit=200")
        while waiting:
            for each in waiting:
                client.ask(post(f"/api/dispatches/{each['dispatchId']}/cancel", {}))
            waiting = _page(client, "status=queued&limit=200")
    model.release("accepts")
    note = f"the hub's processor time per accept: {load.cpu_us:.0f} µs"
    return Figure(f"accepts at {ACCEPTING} connections", "/s", load.rate, at_least=200, note=note)


def _memory(hub: HubProcess, threads: list[str], turns: int) -> Iterator[Figure]:
    """What many dispatches leave behind in the hub's process: the second half of them against the first."""

    def work(thread: str) -> None:
        with Client(hub.port) as client:
            for _ in range(turns // len(threads) // 2 + 1):
                client.ask(call(MODERN, "/mcp", "relay_send_wait", {"threadId": thread, "message": "[[reply x]]"}))

    def app_servers() -> int:
        return sum("app-server" in text for text in hub.children.values())

    files = Path(f"/proc/{hub.pid}/fd")
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(work, threads))
        before, opened, children = megabytes(hub.pid), len(list(files.iterdir())), app_servers()
        list(workers.map(work, threads))
    yield Figure(f"memory added by {turns // 2} further dispatches", "MB", megabytes(hub.pid) - before, at_most=10)
    yield Figure("files added by them", "", len(list(files.iterdir())) - opened, at_most=2)
    yield Figure("app-servers added by them", "", app_servers() - children, at_most=0)


def _history(bench: Bench, home: CodexHome, thread: str) -> Iterator[Figure]:
    """The same with few and with many finished dispatches."""
    hubs = [_with_history(bench, home, number) for number in (SOME, bench.scale.few)]
    send = call(MODERN, "/mcp", "relay_send_wait", {"threadId": thread, "message": "[[reply x]]"})
    questions = {
        "an instant turn": send,
        "the list": get("/api/dispatches?limit=50"),
        "the list of a project": get(f"/api/dispatches?projectId={home.project}&limit=50"),
        "the page": get("/dispatches"),
    }
    for name, question in questions.items():
        pairs = []
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(hub.port)) for hub in hubs]
            for _ in range(bench.scale.posts):
                few, many = (_milliseconds(client, question) for client in clients)
                pairs.append((many, few))
        label = f"{name}, {bench.scale.few} finished against {SOME}"
        yield compared(label, "ms", pairs[1:] or pairs, at_most=1.3)
    for hub in hubs:
        hub.stop()


def _with_history(bench: Bench, home: CodexHome, finished: int) -> HubProcess:
    hub = bench.start_hub(**home.settings, keep_dispatches=10 * finished)
    hub.stop()
    given = {"count": finished, "home": str(home.path), "project": str(home.project)}
    database = hub.folder.parent / "data" / "relay-hub.db"
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(_FINISHED, given)
    return hub.start()


def _milliseconds(client: Client, question: str) -> float:
    began = time.perf_counter()
    client.ask(question)
    return 1000 * (time.perf_counter() - began)


def _thread(hub: HubProcess, home: CodexHome, name: str) -> str:
    made = hub.client.post(
        "/api/dispatches",
        json={"projectId": str(home.project), "threadName": name, "createIfMissing": True, "message": "[[reply x]]"},
    ).json()
    hub.dispatch_when(made["dispatchId"], timeout=WAIT_SEC)
    return str(made["threadId"])


def _page(client: Client, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(client.ask(get(f"/api/dispatches?{query}")).body)["dispatches"]
    return found
