"""What is wrong after a chaos run: the hubs' records, against what model, threads and receivers saw."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy
from filelock import FileLock, Timeout

from tests.fakes.model import FakeModel
from tests.live.load import CHANNEL, Load, Order, Receiver
from tests.support.app_server_client import AppServerClient
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess

CUT_OFF = ("turn_interrupted", "app_server_unavailable")
"""What a kill explains."""
CALLBACK = "[Codex Relay Callback]"
FINAL = ("succeeded", "failed")


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and the history of the dispatch that it is about."""

    dispatch_id: str
    text: str
    history: str = ""

    def __str__(self) -> str:
        return f"! {self.dispatch_id} {self.text}{self.history}"


@dataclass(frozen=True)
class Blow:
    """A moment at which something was killed or stopped, in Unix seconds; the app-server, or a hub alone."""

    at: float
    on_codex: bool


@dataclass(frozen=True)
class Scene:
    """Everything that took part."""

    load: Load
    receiver: Receiver
    model: FakeModel
    home: CodexHome
    hubs: Sequence[HubProcess]
    database: Mapping[str, str]
    blows: Sequence[Blow]

    def asked(self, row: Mapping[str, Any]) -> int:
        """How often the model was asked what a dispatch is about."""
        if row["parentId"]:
            return sum(f'"{row["parentId"]}"' in asked.prompt.text for asked in self.model.asked)
        return sum(
            order.dispatch_id == row["dispatchId"] and self.model.seen(order.question) for order in self.load.orders
        )


@dataclass(frozen=True)
class Turn:
    """One turn as its thread tells it."""

    status: str
    message: str
    reply: str


def findings(scene: Scene, counts: Counter[str]) -> list[Finding]:
    """Look at everything; stops the hubs on the way. `counts` gets how the dispatches ended."""
    client = scene.hubs[0].client
    rows = _all(client, "/api/dispatches?limit=200", "dispatches")
    told = [row for row in _messages(client) if row["dispatch_id"]]
    found = list(_leftovers(scene.hubs))
    threads = {row["threadId"] for row in rows}
    turns = _turns(scene.home, threads)
    by_id = {row["dispatchId"]: row for row in rows}
    for row in rows:
        kind = "callback" if row["parentId"] else "dispatch"
        counts[f"{kind}: {row['dispatchStatus']} {row['errorCode'] or ''}".strip()] += 1
    for order in scene.load.orders:
        if order.dispatch_id:
            row = by_id[order.dispatch_id]
            problems = [*_order(scene, order, row, turns), *_told(scene, order, row, turns, told)]
            found += [Finding(order.dispatch_id, text) for text in problems]
    for row in rows:
        found += [Finding(row["dispatchId"], text) for text in _ended(scene, row)]
    keys = Counter(row["idempotencyKey"] for row in rows if row["idempotencyKey"])
    found += [Finding("", f"{count} dispatches have the key {key}") for key, count in keys.items() if count > 1]
    found += [Finding("", text) for text in (*scene.load.complaints, *scene.receiver.complaints)]
    return [Finding(each.dispatch_id, each.text, _history(scene, each.dispatch_id)) for each in found]


def _order(scene: Scene, order: Order, row: dict[str, Any], turns: Mapping[str, list[Turn]]) -> Iterator[str]:
    """Whether its own reply came, and its message at most once."""
    if row["dispatchStatus"] == "succeeded" and row["replyText"] != order.reply:
        yield f"has the reply {row['replyText']!r}, not {order.reply!r}"
    if (seen := scene.model.seen(order.question)) > 1:
        yield f"was put to the model {seen} times"
    mine = [turn for turn in turns[row["threadId"]] if order.question in turn.message]
    if len(mine) > 1:
        yield f"stands {len(mine)} times in its thread"
    if row["dispatchStatus"] == "failed" and (completed := [turn for turn in mine if turn.status == "completed"]):
        yield f"failed with {row['errorCode']}, but its turn completed with {completed[0].reply!r}"
    if not mine and row["errorCode"] != "app_server_unavailable":
        yield f"is {row['dispatchStatus']} {row['errorCode']}, but its message is not in its thread"


def _ended(scene: Scene, row: dict[str, Any]) -> Iterator[str]:
    """Whether it has ended, and in a way that the kills explain."""
    status, code = row["dispatchStatus"], row["errorCode"]
    if row["callbackStatus"] == "pending":
        yield f"waits for its callback for ever: {row['callbackErrorCode']} {row['callbackErrorMessage']}"
    if status == "cancelled" and row["parentId"]:
        return
    if status not in FINAL:
        yield f"is {status} for ever: {row['waitingFor']}"
    elif status == "failed":
        was = [datetime.fromisoformat(row[key]).timestamp() for key in ("acceptedAt", "updatedAt")]
        # A turn outlives its hub, but for one that only just begins.
        blows = [
            blow for blow in scene.blows if was[0] <= blow.at <= was[1] and (blow.on_codex or not scene.asked(row))
        ]
        if code not in CUT_OFF or not blows:
            yield f"failed with {code} and no kill explains it: {row['errorMessage']}"


def _told(
    scene: Scene, order: Order, row: dict[str, Any], turns: Mapping[str, list[Turn]], posted: Sequence[dict[str, Any]]
) -> Iterator[str]:
    """Whether the end was told once, and the passing of its time limit at most once."""
    dispatch_id, status = row["dispatchId"], row["dispatchStatus"]
    if source := order.body.get("callbackThreadId"):
        news = [turn for turn in turns[source] if CALLBACK in turn.message and f'"{dispatch_id}"' in turn.message]
        ends = [turn for turn in news if f'"status": "{status}"' in turn.message]
        late = [turn for turn in news if '"status": "timed_out"' in turn.message]
        if len(ends) != 1:
            yield f"its end stands {len(ends)} times in the thread {source}; callback {row['callbackStatus']}"
        if len(late) > 1 or len(news) > len(ends) + len(late):
            yield f"its time limit stands {len(late)} times in the thread {source}, of {len(news)} callbacks"
        if row["callbackStatus"] == "failed" and row["callbackErrorCode"] not in CUT_OFF:
            yield f"its callback failed with {row['callbackErrorCode']}: {row['callbackErrorMessage']}"
    if order.body.get("callbackChannel"):
        texts = [each["text"] for each in posted if each["dispatch_id"] == dispatch_id]
        late_texts = [text for text in texts if "past its time limit" in text]
        if len(texts) - len(late_texts) != 1 or len(late_texts) > 1:
            yield f"was told in the channel as {texts}"
    if order.body.get("callbackUrl"):
        events = {event for event in scene.receiver.events if event.startswith(dispatch_id)}
        if f"{dispatch_id}/{status}" not in events or not events <= {
            f"{dispatch_id}/{status}",
            f"{dispatch_id}/timed_out",
        }:
            yield f"was told to its URL as {sorted(events)}; callback {row['callbackStatus']}"


def _leftovers(hubs: Sequence[HubProcess]) -> Iterator[Finding]:
    """Stop the hubs as a user does: no process, no socket, no lock may be left."""
    for hub in hubs:
        try:
            hub.stop()
        except AssertionError as problem:
            yield Finding("", str(problem))
        data = hub.folder.parent / "data"
        for path in (*data.glob("*.sock"), *data.glob("*.owner")):
            yield Finding("", f"{path} was left behind")
        for path in data.glob("*.lock"):
            try:
                FileLock(path).acquire(blocking=False).lock.release()
            except Timeout:
                yield Finding("", f"{path} is locked")


def _turns(home: CodexHome, threads: set[str]) -> dict[str, list[Turn]]:
    """All turns of these threads, as Codex itself tells them; none of a thread that it does not have."""
    turns: dict[str, list[Turn]] = {thread: [] for thread in threads}
    with AppServerClient(home) as codex:
        for thread, found in turns.items():
            with contextlib.suppress(AssertionError):
                found += [_turn(turn) for turn in _pages(codex, thread)]
    return turns


def _pages(codex: AppServerClient, thread: str) -> Iterator[dict[str, Any]]:
    cursor = {}
    while True:
        page = codex.request("thread/turns/list", threadId=thread, limit=100, itemsView="full", **cursor)
        yield from page["data"]
        if not page.get("nextCursor"):
            return
        cursor = {"cursor": page["nextCursor"]}


def _turn(turn: dict[str, Any]) -> Turn:
    items = turn["items"]
    said = [item["text"] for item in items if item["type"] == "agentMessage"]
    asked = [part.get("text", "") for item in items if item["type"] == "userMessage" for part in item["content"]]
    return Turn(turn["status"], "\n".join(asked), "\n".join(said))


def _all(client: Any, path: str, key: str) -> list[dict[str, Any]]:
    page = client.get(path).json()
    rows: list[dict[str, Any]] = page[key]
    while page["nextCursor"]:
        page = client.get(f"{path}&cursor={page['nextCursor']}").json()
        rows += page[key]
    return rows


def _messages(client: Any) -> list[dict[str, Any]]:
    page: dict[str, Any] = {"latest_id": 0, "has_more": True}
    rows: list[dict[str, Any]] = []
    while page["has_more"]:
        page = client.get(f"/api/messages?target={CHANNEL}&since_id={page['latest_id']}").json()
        rows += page["messages"]
    return rows


def _history(scene: Scene, dispatch_id: str) -> str:
    """What the hubs wrote down about a dispatch, and about the callbacks of it."""
    data = scene.hubs[0].folder.parent / "data" / "relay-hub.db"
    engine = sqlalchemy.create_engine(scene.database.get("database_url", f"sqlite:///{data}"))
    query = sqlalchemy.text(
        "SELECT e.ts, e.attempt, e.kind, e.detail, e.dispatch_id FROM dispatchevent e JOIN dispatch d "
        "ON d.id = e.dispatch_id WHERE d.id = :id OR d.parent_id = :id ORDER BY e.id"
    )
    with engine.connect() as connection:
        events = connection.execute(query, {"id": dispatch_id}).all()
    engine.dispose()
    return "".join(
        f"\n    {datetime.fromtimestamp(ts).astimezone():%H:%M:%S.%f} {attempt} {kind} {detail}"
        + (f"  (callback {of})" if of != dispatch_id else "")
        for ts, attempt, kind, detail, of in events
    )
