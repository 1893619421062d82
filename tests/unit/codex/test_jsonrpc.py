import asyncio
import json
from typing import Any

import pytest

from app.codex.jsonrpc import METHOD_NOT_FOUND, Connection, ConnectionClosed, NoReply, RequestTimedOut, RpcError

pytestmark = pytest.mark.anyio


class Wire:
    """A transport whose other end is the test; it records what the connection reports, too."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.notified: list[tuple[str, dict[str, Any]]] = []
        self.closed: list[str] = []
        self.release = asyncio.Event()
        self._incoming: asyncio.Queue[str | None] = asyncio.Queue()

    async def send(self, text: str) -> None:
        self.sent.put_nowait(json.loads(text))

    async def receive(self) -> str:
        text = await self._incoming.get()
        if text is None:
            raise ConnectionClosed("the peer fell asleep")
        return text

    async def aclose(self) -> None:
        self.hang_up()

    def say(self, message: Any) -> None:
        self._incoming.put_nowait(message if isinstance(message, str) else json.dumps(message))

    def hang_up(self) -> None:
        self._incoming.put_nowait(None)

    async def hear(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), 5)

    async def handle(self, request_id: Any, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "slow":
                await self.release.wait()
                return {"done": True}
            case "settled":
                raise NoReply
            case "broken":
                raise ValueError("oops")
        raise RpcError(METHOD_NOT_FOUND, f"{method}?")


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def connection(wire: Wire) -> Any:
    connection = Connection(wire, lambda *said: wire.notified.append(said), wire.handle, wire.closed.append)
    yield connection
    await connection.aclose()


async def test_answers_reach_the_request_with_their_id_in_any_order(wire: Wire, connection: Connection) -> None:
    first = asyncio.create_task(connection.request("a", {"x": 1}, 5))
    second = asyncio.create_task(connection.request("b", {}, 5))
    asked = [await wire.hear(), await wire.hear()]
    assert [(m["method"], m["params"]) for m in asked] == [("a", {"x": 1}), ("b", {})]
    wire.say({"id": asked[1]["id"], "result": {"of": "b"}})
    wire.say({"id": asked[0]["id"], "result": {"of": "a"}})
    assert (await first, await second) == ({"of": "a"}, {"of": "b"})


async def test_an_error_answer_is_raised_with_its_code_text_and_data(wire: Wire, connection: Connection) -> None:
    request = asyncio.create_task(connection.request("a", {}, 5))
    wire.say({"id": (await wire.hear())["id"], "error": {"code": -32602, "message": "no", "data": {"why": 1}}})
    with pytest.raises(RpcError, match="no") as caught:
        await request
    assert (caught.value.code, caught.value.data) == (-32602, {"why": 1})


async def test_a_server_request_with_the_id_of_a_pending_request_is_a_request(
    wire: Wire, connection: Connection
) -> None:
    request = asyncio.create_task(connection.request("a", {}, 5))
    pending = (await wire.hear())["id"]
    wire.say({"id": pending, "method": "whatever", "params": {}})
    assert await wire.hear() == {"id": pending, "error": {"code": METHOD_NOT_FOUND, "message": "whatever?"}}
    wire.say({"id": pending, "result": {"ok": 1}})
    assert await request == {"ok": 1}


async def test_a_slow_handler_does_not_hold_up_the_read_loop(wire: Wire, connection: Connection) -> None:
    wire.say({"id": 0, "method": "slow"})
    request = asyncio.create_task(connection.request("a", {}, 5))
    wire.say({"id": (await wire.hear())["id"], "result": {}})
    assert await request == {}
    wire.release.set()
    assert await wire.hear() == {"id": 0, "result": {"done": True}}


async def test_a_request_whose_answer_nobody_waits_for_gets_none(wire: Wire, connection: Connection) -> None:
    wire.say({"id": 0, "method": "settled"})
    wire.say({"id": 1, "method": "broken"})
    assert (await wire.hear())["id"] == 1


async def test_a_handler_that_fails_still_answers(wire: Wire, connection: Connection) -> None:
    wire.say({"id": "q", "method": "broken"})
    assert await wire.hear() == {"id": "q", "error": {"code": -32603, "message": "broken failed"}}


@pytest.mark.parametrize(
    "noise", ["", "not json", "[1]", "7", '{"id": 1}', '{"id": {"a": 1}, "result": {}}', '{"id": 99, "result": {}}']
)
async def test_noise_costs_nothing_but_itself(wire: Wire, connection: Connection, noise: str) -> None:
    wire.say(noise)
    wire.say({"method": "after", "params": {"n": 1}})
    request = asyncio.create_task(connection.request("a", {}, 5))
    wire.say({"id": (await wire.hear())["id"], "result": {}})
    await request
    assert wire.notified == [("after", {"n": 1})]


async def test_a_request_without_an_answer_times_out_and_its_late_answer_is_dropped(
    wire: Wire, connection: Connection
) -> None:
    with pytest.raises(RequestTimedOut, match=r"^Request timed out: thread/list$"):
        await connection.request("thread/list", {}, 0.01)
    late = (await wire.hear())["id"]
    request = asyncio.create_task(connection.request("b", {}, 5))
    own = (await wire.hear())["id"]
    wire.say({"id": late, "result": {"late": 1}})
    wire.say({"id": own, "result": {"own": 1}})
    assert await request == {"own": 1}


async def test_the_end_of_the_peer_wakes_every_waiter_and_fails_later_calls_at_once(
    wire: Wire, connection: Connection
) -> None:
    requests = [asyncio.create_task(connection.request(name, {}, 60)) for name in "abc"]
    for _ in requests:
        await wire.hear()
    wire.hang_up()
    ends = await asyncio.wait_for(asyncio.gather(*requests, return_exceptions=True), 5)
    assert [str(end) for end in ends] == ["the peer fell asleep"] * 3
    with pytest.raises(ConnectionClosed, match="the peer fell asleep"):
        await connection.request("d", {}, 60)
    assert wire.closed == ["the peer fell asleep"]


async def test_a_cancelled_request_leaves_nothing_behind(wire: Wire, connection: Connection) -> None:
    request = asyncio.create_task(connection.request("a", {}, 60))
    asked = (await wire.hear())["id"]
    request.cancel()
    await asyncio.wait([request])
    wire.say({"id": asked, "result": {}})
    other = asyncio.create_task(connection.request("b", {}, 5))
    wire.say({"id": (await wire.hear())["id"], "result": {"b": 1}})
    assert await other == {"b": 1}
