"""JSON-RPC between two peers that both ask: request ids, the read loop, and how a connection ends.

One task reads. Every pending request has one future, removed on every path. A message that cannot
be read costs that message, not the connection. The peer's requests are answered in their own tasks.
"""

import asyncio
import itertools
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

logger = logging.getLogger("relay_hub.codex")

_UNSTORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""NUL, which PostgreSQL does not store, and half a surrogate pair, which has no bytes. It also finds whole pairs."""

METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603


class RpcError(Exception):
    """The peer answered with an error; raised by a handler, it is the answer to the peer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class RequestTimedOut(Exception):
    """The peer did not answer in time."""


class ConnectionClosed(Exception):
    """The peer is gone; the text says how it went."""


class NoReply(Exception):
    """Raised by a handler: the peer waits for no answer any more."""


class Transport(Protocol):
    """One JSON text at a time, both ways."""

    async def send(self, text: str) -> None:
        """Raises ConnectionClosed when the peer is gone."""

    async def receive(self) -> str:
        """Raises ConnectionClosed at the end, with the reason."""

    async def aclose(self) -> None:
        """End the peer or leave it. `receive` goes on meanwhile and then says that it is closed."""


class Connection:
    """Requests, notifications and answers over a transport, from construction until either side ends.

    `on_notification` is called in the read loop, in order, and must not wait. `on_request` gets the peer's id of the
    request, its method and its parameters; it returns the result for the peer, or raises RpcError or NoReply. It is
    cancelled when the connection ends. `on_close` is called once, with the reason.
    """

    def __init__(
        self,
        transport: Transport,
        on_notification: Callable[[str, dict[str, Any]], None],
        on_request: Callable[[Any, str, dict[str, Any]], Awaitable[dict[str, Any]]],
        on_close: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._on_notification = on_notification
        self._on_request = on_request
        self._on_close = on_close
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._reason: str | None = None
        self._reader = asyncio.create_task(self._read())

    async def request(
        self,
        method: str,
        params: dict[str, Any],
        timeout: float,  # noqa: ASYNC109 - every request has a limit of its own
    ) -> dict[str, Any]:
        """Ask and wait for the result, at most `timeout` seconds.

        Raises:
            RpcError: the peer refused.
            RequestTimedOut: no answer in time; a later one is dropped.
            ConnectionClosed: the peer is gone.
        """
        if self._reason is not None:
            raise ConnectionClosed(self._reason)
        request_id = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = answer
        try:
            async with asyncio.timeout(timeout):
                await self._send({"id": request_id, "method": method, "params": params})
                return await answer
        except TimeoutError as error:
            raise RequestTimedOut(f"Request timed out: {method}") from error
        finally:
            del self._pending[request_id]
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen, also where sending has failed before anybody waited for it

    async def notify(self, method: str) -> None:
        """Tell the peer, without parameters and without an answer.

        Raises:
            ConnectionClosed: the peer is gone.
        """
        await self._send({"method": method})

    async def aclose(self) -> None:
        """End the transport and everything that waits. The read loop drains until the end."""
        try:
            await self._transport.aclose()
        finally:
            self._reader.cancel()
            self._close("codex app-server session closed")
            await asyncio.gather(self._reader, *self._answering, return_exceptions=True)

    async def _send(self, message: dict[str, Any]) -> None:
        await self._transport.send(json.dumps(message, ensure_ascii=False))

    async def _read(self) -> None:
        reason = "codex app-server session closed"
        try:
            while True:
                self._take(await self._transport.receive())
        except ConnectionClosed as error:
            reason = str(error)
        finally:
            self._close(reason)

    def _take(self, text: str) -> None:
        try:
            message = json.loads(text)
            if _UNSTORABLE.search(text):
                message = _storable(message)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            logger.debug("codex app-server: a line that is no message is skipped")
        # The method first: the peer numbers its own requests, and its ids meet ours.
        elif "method" not in message:
            self._settle(message)
        elif "id" in message:
            task = asyncio.create_task(self._answer(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._on_notification(str(message["method"]), _object(message.get("params")))

    def _settle(self, message: dict[str, Any]) -> None:
        request_id = message.get("id")
        answer = self._pending.get(request_id) if type(request_id) is int else None  # true is an int, too
        if answer is None or answer.done():
            logger.debug("codex app-server: an answer that nobody waits for is dropped")
        elif message.get("error") is None:
            answer.set_result(_object(message.get("result")))
        else:
            error = _object(message["error"])
            code = error.get("code")
            answer.set_exception(
                RpcError(
                    code if isinstance(code, int) else INTERNAL_ERROR,
                    str(error.get("message") or "error without a message"),
                    error.get("data"),
                )
            )

    async def _answer(self, message: dict[str, Any]) -> None:
        method = str(message["method"])
        reply: dict[str, Any] = {"id": message["id"]}
        try:
            reply["result"] = await self._on_request(message["id"], method, _object(message.get("params")))
        except NoReply:
            return
        except RpcError as error:
            reply["error"] = {"code": error.code, "message": error.message}
        except Exception:
            logger.exception("codex app-server: no answer to %s", method)
            reply["error"] = {"code": INTERNAL_ERROR, "message": f"{method} failed"}
        try:
            await self._send(reply)
        except ConnectionClosed:
            logger.debug("codex app-server: gone before the answer to %s", method)

    def _close(self, reason: str) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(ConnectionClosed(reason))
        for task in self._answering:
            task.cancel()
        self._on_close(reason)


def _storable(value: Any) -> Any:
    """The same with every text in a form that all databases take, and that can be sent back."""
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode(errors="replace").decode()
        case list():
            return [_storable(each) for each in value]
        case dict():
            return {_storable(key): _storable(each) for key, each in value.items()}
    return value


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
