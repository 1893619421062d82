"""An app-server that says what no Codex would: its client keeps to its contract, and dispatches end honestly."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.codex.client import CodexClient
from app.codex.jsonrpc import ConnectionClosed
from app.codex.limits import Limits
from app.codex.protocol import Notification, Thread, TurnLog
from app.dispatch.progress import MOST_TEXT, Progress
from app.errors import HubError
from app.schemas import iso
from app.settings import Settings
from tests.fakes.noisy_codex import NoisyCodex
from tests.support import fuzz
from tests.support.hub import HubProcess, Hubs

THREAD = "t1"
TURN = "u1"
LIMITS = Limits("read-only", "never")
PATIENCE_SEC = 10
ODD_ID, MENDED_ID = "q\ud800", "q?"

METHODS = (
    "item/started",
    "item/completed",
    "item/agentMessage/delta",
    "item/commandExecution/outputDelta",
    "item/reasoning/summaryTextDelta",
    "item/fileChange/patchUpdated",
    "item/plan/delta",
    "turn/started",
    "turn/completed",
    "turn/diff/updated",
    "turn/plan/updated",
    "thread/tokenUsage/updated",
    "thread/closed",
    "serverRequest/resolved",
    "error",
)
QUESTIONS = (
    "item/commandExecution/requestApproval",
    "item/fileChange/requestApproval",
    "item/permissions/requestApproval",
    "item/tool/requestUserInput",
    "mcpServer/elicitation/request",
)
KINDS = (
    "agentMessage",
    "commandExecution",
    "fileChange",
    "mcpToolCall",
    "reasoning",
    "plan",
    "webSearch",
    "userMessage",
)

ids = st.integers(0, 3) | st.sampled_from([THREAD, TURN]) | fuzz.anything


def nearly(**members: Any) -> st.SearchStrategy[Any]:
    """An object of these members, some of them missing or of another type, or something else altogether."""
    optional = {name: st.one_of(strategy, fuzz.anything) for name, strategy in members.items()}
    return st.fixed_dictionaries({}, optional=optional) | fuzz.nasty


items = nearly(
    id=ids,
    type=st.sampled_from(KINDS),
    text=fuzz.text,
    status=fuzz.text,
    clientId=st.just("mine"),
    phase=st.sampled_from(["final_answer", "commentary"]),
    command=fuzz.text,
    aggregatedOutput=fuzz.text,
    exitCode=st.integers(),
    changes=st.lists(nearly(path=fuzz.text, diff=fuzz.text, kind=nearly(type=st.sampled_from(["add", "delete"])))),
    server=fuzz.text,
    tool=fuzz.text,
    arguments=fuzz.anything,
    result=fuzz.anything,
    summary=st.lists(fuzz.text),
    query=fuzz.text,
)
turns = nearly(
    id=ids,
    status=st.sampled_from(["completed", "failed", "interrupted", "inProgress"]),
    items=st.lists(items, max_size=3),
    error=nearly(message=fuzz.text),
    startedAt=st.floats(),
    completedAt=st.integers(),
)
threads = nearly(
    id=ids,
    name=fuzz.text,
    preview=fuzz.text,
    cwd=fuzz.text,
    status=nearly(type=st.sampled_from(["idle", "active"])),
    createdAt=st.floats(),
    updatedAt=st.integers(),
    turns=st.lists(turns, max_size=2),
)
told = nearly(
    threadId=st.just(THREAD),
    turnId=st.just(TURN),
    itemId=ids,
    requestId=ids,
    delta=fuzz.text,
    diff=fuzz.text,
    item=items,
    turn=turns,
    changes=fuzz.anything,
    plan=st.lists(nearly(step=fuzz.text, status=st.sampled_from(["completed", "inProgress"])), max_size=3),
    tokenUsage=nearly(
        last=nearly(inputTokens=st.integers(), totalTokens=st.integers()), modelContextWindow=st.integers()
    ),
    error=nearly(message=fuzz.text),
    willRetry=st.booleans(),
)
results = nearly(
    thread=threads,
    turn=turns,
    data=st.lists(threads | turns | fuzz.text, max_size=3),
    nextCursor=st.none(),
    config=nearly(projects=fuzz.anything),
    sandbox=fuzz.anything,
    deleted=st.booleans(),
)
messages = st.one_of(
    nearly(id=ids, method=st.sampled_from(METHODS + QUESTIONS), params=told),
    nearly(method=st.sampled_from(METHODS), params=told),
    nearly(id=ids, result=results),
    nearly(id=ids, error=nearly(code=st.integers(), message=fuzz.text, data=fuzz.anything)),
)
lines = st.one_of(
    messages.map(json.dumps),
    messages.map(json.dumps),
    st.builds(lambda line, end: line[:end], messages.map(json.dumps), st.integers(0, 80)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(
        ['{"method":' * 50_000, "[" * 100_000, '{"id": 1' + "0" * 9000 + "}", f'{{"method": "{"x" * 10**6}"}}']
    ),
)


class Peer:
    """The other end of a client's transport: says lines, and answers requests as it is told to."""

    def __init__(self, answer: Callable[[dict[str, Any]], str | None]) -> None:
        self.answered = asyncio.Event()
        """Set when the question `ODD_ID` was answered."""
        self._answer = answer
        self._incoming: asyncio.Queue[str | None] = asyncio.Queue()

    def say(self, line: str) -> None:
        self._incoming.put_nowait(line)

    async def send(self, text: str) -> None:
        text.encode()
        message = json.loads(text)
        if message.get("id") in (ODD_ID, MENDED_ID):
            self.answered.set()
        if "method" in message and "id" in message and (line := self._answer(message)) is not None:
            self.say(line)

    async def receive(self) -> str:
        line = await self._incoming.get()
        if line is None:
            raise ConnectionClosed("the peer hung up")
        return line

    async def aclose(self) -> None:
        self._incoming.put_nowait(None)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """In a loop of its own, whose tasks all end well and in time."""
    problems: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asyncio.timeout(PATIENCE_SEC):
            await scenario
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(watched())
    assert not problems, problems


def settings(timeout_ms: int = 5000) -> Settings:
    return Settings(data_dir=Path("/p"), codex_request_timeout_ms=timeout_ms, codex_when_held="queue")


@fuzz.examples(200)
@given(st.lists(lines, max_size=6))
def test_whatever_comes_the_client_goes_on(said: list[str]) -> None:
    def answer(request: dict[str, Any]) -> str | None:
        if request["method"] == "config/read":
            return json.dumps({"id": request["id"], "result": {"config": {"right": True}}})
        return None

    async def scenario() -> None:
        peer = Peer(answer)
        client = CodexClient(peer, settings())
        with client.watch(THREAD) as watch:
            for line in said:
                peer.say(line)
            peer.say(json.dumps({"method": "marker", "params": {"threadId": THREAD}}))
            async for notification in watch:
                if notification.method == "marker":
                    break
        assert await client.config() == {"right": True}
        peer.say(json.dumps({"id": ODD_ID, "method": "novel/question"}))
        await peer.answered.wait()
        await client.aclose()

    run(scenario())


CALLS: dict[str, Callable[[CodexClient], Coroutine[Any, Any, Any]]] = {
    "initialize": lambda client: client.initialize(),
    "config": lambda client: client.config(),
    "threads": lambda client: client.threads("/p"),
    "thread": lambda client: client.thread(THREAD),
    "start_thread": lambda client: client.start_thread("/p", LIMITS),
    "name_thread": lambda client: client.name_thread(THREAD, "n"),
    "resume": lambda client: client.resume(THREAD, LIMITS),
    "loaded": lambda client: client.loaded(),
    "unsubscribe": lambda client: client.unsubscribe(THREAD),
    "start_turn": lambda client: client.start_turn(THREAD, "text", "mine"),
    "queue_message": lambda client: client.queue_message(THREAD, "text", "mine"),
    "queued": lambda client: client.queued(THREAD),
    "unqueue": lambda client: client.unqueue(THREAD, "e"),
    "turns": lambda client: client.turns(THREAD, full=True),
    "interrupt": lambda client: client.interrupt(THREAD, TURN),
}


@fuzz.examples(150)
@given(st.sampled_from(sorted(CALLS)), nearly(result=results, error=nearly(code=st.integers(), message=fuzz.text)))
def test_whatever_is_answered_a_method_returns_or_raises_an_error_of_the_hub(call: str, answered: Any) -> None:
    def answer(request: dict[str, Any]) -> str | None:
        return json.dumps({**answered, "id": request["id"]} if isinstance(answered, dict) else answered)

    async def scenario() -> None:
        client = CodexClient(Peer(answer), settings(timeout_ms=20))
        try:
            found = await CALLS[call](client)
        except HubError as error:
            json.dumps(error.as_json()).encode()
        else:
            storable(repr(found))
            for thread in found if isinstance(found, list) else [found]:
                if isinstance(thread, Thread):
                    storable(f"{iso(thread.created_at)} {iso(thread.updated_at)} {thread.name} {thread.preview}")
        await client.aclose()

    run(scenario())


def storable(text: str) -> None:
    """Whether every database takes it."""
    assert "\0" not in text
    text.encode()


def said_by_the_wire(value: Any) -> Any:
    """A value as it comes out of a connection."""
    heard: list[dict[str, Any]] = []

    async def scenario() -> None:
        peer = Peer(lambda _: None)
        client = CodexClient(peer, settings())
        with client.watch(THREAD) as watch:
            peer.say(json.dumps({"method": "m", "params": {"threadId": THREAD, "value": value}}))
            peer.say(json.dumps({"method": "marker", "params": {"threadId": THREAD}}))
            heard.append((await anext(watch)).params)
        await client.aclose()

    run(scenario())
    return heard[0].get("value")


@fuzz.examples(100)
@given(st.lists(st.tuples(st.sampled_from(METHODS), told), max_size=6))
@example([("item/completed", {"item": {"id": "f", "type": "fileChange", "changes": 7}})])
@example([("item/completed", {"item": {"id": "r", "type": "reasoning", "summary": 7}})])
@example([("thread/tokenUsage/updated", {"tokenUsage": {"last": {"inputTokens": int("9" * 4300)}}})] * 2)
def test_whatever_is_told_of_a_turn_is_kept_in_a_form_that_can_be_stored(told: list[tuple[str, Any]]) -> None:
    progress, log = Progress("d"), TurnLog("mine", TURN)
    for method, params in said_by_the_wire(told) or []:
        notification = Notification(method, params if isinstance(params, dict) else {})
        progress.feed(notification)
        log.feed(notification)
    items, values = progress.taken()
    for item in items:
        storable(f"{item.item_id}{item.kind}{item.title}{item.text}{item.status}")
        assert max(len(item.item_id), len(item.kind), len(item.status)) <= 200
        assert len(item.text) <= MOST_TEXT + 100
    for value in values.values():
        storable(str(value))
    result = log.result
    storable(f"{result.reply}{result.error}{result.status}{result.turn_id}")


def test_a_deep_value_is_told_or_left_out() -> None:
    progress = Progress("d")
    for depth in (10, 200, 400, 800, 990):
        deep: Any = []
        for _ in range(depth):
            deep = [deep]
        progress.feed(
            Notification("item/completed", {"item": {"id": f"i{depth}", "type": "mcpToolCall", "arguments": deep}})
        )
    assert len(progress.taken()[0]) == 5


@pytest.fixture
def noisy(hub: Hubs, tmp_path: Path) -> tuple[HubProcess, str]:
    """A hub whose Codex says more than Codex would, and a thread of it."""
    codex = NoisyCodex(tmp_path / "codex", trusted=["/srv/p"])
    (thread_id,) = codex.add_threads(1, "/srv/p")
    return hub(codex_command=codex.command), thread_id


def test_a_dispatch_succeeds_amid_noise(noisy: tuple[HubProcess, str]) -> None:
    hub, thread_id = noisy
    first = hub.accept(projectId="/srv/p", threadId=thread_id, message="one")
    assert hub.dispatch_when(first["dispatchId"])["replyText"] == "echo: one"
    with fuzz.unharmed(hub):
        accepted = hub.accept(projectId="/srv/p", threadId=thread_id, message="two")
        ended = hub.dispatch_when(accepted["dispatchId"])
        assert (ended["dispatchStatus"], ended["replyText"]) == ("succeeded", "echo: two")
        page = hub.client.get(f"/dispatches/{accepted['dispatchId']}")
        assert page.status_code == 200
        items = hub.client.get(f"/api/dispatches/{accepted['dispatchId']}/items").json()["items"]
        assert {"files", "reasoning", "tool"} <= {item["itemId"] for item in items}


def test_a_reply_that_no_database_takes_is_mended(noisy: tuple[HubProcess, str]) -> None:
    hub, thread_id = noisy
    accepted = hub.accept(projectId="/srv/p", threadId=thread_id, message="mode=garbled")
    ended = hub.dispatch_when(accepted["dispatchId"])
    assert (ended["dispatchStatus"], ended["replyText"]) == ("succeeded", "echo: mode=garbleda\ufffdb?c")
    assert "Traceback" not in hub.log
