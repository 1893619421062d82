"""HTTP/1.1 with bounds: how large the head of a request may be, and how long it and its answer may take to travel.

Uvicorn bounds neither. It runs on one of two parsers: `OnH11` is for the one in Python, `app.cli.fast_protocol` for the
one in C. Nothing is timed for each request: once a second the server lets every connection look at itself.
"""

import asyncio
import logging
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.errors import ErrorCode, error_body
from app.schemas import json_bytes
from app.security.edges import HEADERS

READ_BYTES = 48 * 1024
"""A reader who takes less than this in the time of `slow_client_sec` is too slow. Uvicorn, too, waits until so much has
been taken: it stops to write at 64 KiB, and goes on at 16."""
LINGER_SEC = 2
"""So long what still comes is thrown away after a refusal; a client that is sending would see a reset instead of it."""
PIECE_BYTES = 4096
"""How much h11 is given at once: it bounds only a head that it has not seen the end of."""

logger = logging.getLogger("relay_hub.access")


class Refusal(Exception):
    """Why a request is not taken, before the app sees it."""

    def __init__(self, status: HTTPStatus, code: ErrorCode, text: str, **details: Any) -> None:
        super().__init__(text)
        body = json_bytes(error_body(code, text, details))
        headers = {**HEADERS, "Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.answer = f"HTTP/1.1 {status} {status.phrase}\r\n{head}\r\n".encode() + body


def malformed() -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, ErrorCode.BAD_REQUEST, "This is not a request in HTTP/1.1.")


def head_too_large(most: int) -> Refusal:
    text = f"The head of the request is larger than max_header_bytes allows ({most} bytes)."
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return Refusal(status, ErrorCode.PAYLOAD_TOO_LARGE, text, setting="max_header_bytes")


def too_slow(most: float) -> Refusal:
    text = f"The request did not arrive within slow_client_sec ({most:g} seconds)."
    return Refusal(HTTPStatus.REQUEST_TIMEOUT, ErrorCode.BAD_REQUEST, text, setting="slow_client_sec")


class Bounded(asyncio.Protocol):
    """What connections of both parsers have in common."""

    transport: asyncio.Transport
    client: tuple[str, int] | None
    flow: FlowControl
    cycle: Any
    """The request that is answered, or was answered last; None before the first one."""

    reason: Refusal | None = None
    """What the parser's callbacks found wrong; they can only make it give up."""
    refusal: Refusal | None = None
    is_silent = True
    """Nothing has come yet. Browsers open connections in advance."""
    _lingering = 0
    _arriving = 0
    _asked: Any = None
    _waiting = 0
    _unread = 0

    @property
    def is_arriving(self) -> bool:
        """Whether a request has begun to arrive and has not ended; also before the first one."""
        raise NotImplementedError

    def look(self, slow_client_sec: float) -> None:
        """Cut off a client that is too slow. Called once a second; seconds in which the hub hung do not count."""
        unread = self.transport.get_write_buffer_size()
        self._waiting += 1
        if not unread or not self._unread or unread + READ_BYTES <= self._unread:
            self._waiting, self._unread = 0, unread
        elif self._waiting > slow_client_sec:
            # The rest of the answer is in memory; to close would be to wait for a reader who does not come.
            self.transport.abort()
            return
        self._arriving += 1
        if self.refusal:
            self._lingering += 1
            if self._lingering > LINGER_SEC:
                self.transport.close()
        elif (
            self.transport.is_closing()
            or not self.is_arriving
            or self.flow.read_paused
            or self._asked is not self.cycle
        ):
            self._asked, self._arriving = self.cycle, 0
        elif self._arriving > slow_client_sec:
            self.transport.close() if self.is_silent else self.refuse(too_slow(slow_client_sec))

    def resume_writing(self) -> None:
        self._waiting = 0
        self.flow.resume_writing()

    def refuse(self, refusal: Refusal) -> None:
        """Answer in place of the app, and take nothing more from this client."""
        self.refusal = refusal
        cycle = self.cycle
        is_answered = cycle is not None and cycle.response_started and (cycle.more_body or not cycle.response_complete)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        logger.warning("%s:%s - refused: %s", *(self.client or "--"), refusal)
        if is_answered or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write(refusal.answer)
        self.transport.write_eof()

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for a WebSocket gets an ordinary answer. Uvicorn would advise to install one."""

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gives up; `msg` is the same for every reason."""
        self.refuse(self.reason or malformed())


class OnH11(Bounded, H11Protocol):
    """On h11, where Python has no compiled parser."""

    @property
    def is_arriving(self) -> bool:
        state = self.conn.their_state
        return state is h11.SEND_BODY or (
            state is h11.IDLE and (self.cycle is None or bool(self.conn.trailing_data[0]))
        )

    def data_received(self, data: bytes) -> None:
        self.is_silent = False
        for start in range(0, len(data), PIECE_BYTES):
            if self.refusal:
                return
            super().data_received(data[start : start + PIECE_BYTES])

    def send_400_response(self, msg: str) -> None:
        error = sys.exc_info()[1]
        if (
            isinstance(error, h11.RemoteProtocolError)
            and error.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        ):
            self.reason = head_too_large(self.config.h11_max_incomplete_event_size or 0)
        super().send_400_response(msg)
