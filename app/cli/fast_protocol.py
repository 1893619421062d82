"""The bounds of `app.cli.protocol` on the compiled parser, httptools."""

from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.cli.protocol import Bounded, Refusal, head_too_large
from app.errors import ErrorCode


class OnHttpTools(Bounded, HttpToolsProtocol):
    """What it does for each request is a few comparisons of numbers."""

    is_arriving = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most = self.config.h11_max_incomplete_event_size or 0
        self._unparsed = 0
        """Bytes since the parser last understood something: the head, a piece of the body, the end."""

    def data_received(self, data: bytes) -> None:
        if self.refusal:
            return
        self.is_silent = False
        self._unparsed += len(data)
        super().data_received(data)
        # A head that does not end; or what comes between and after the pieces of a body in chunks.
        if self._unparsed > self._most and not self.refusal:
            self.refuse(head_too_large(self._most))

    def on_message_begin(self) -> None:
        self.is_arriving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._unparsed > self._most and self._head_bytes() > self._most:
            self.reason = head_too_large(self._most)
            raise self.reason
        if self.url[:1] != b"/":
            text = "Ask for a path: the hub is no proxy, and takes no whole addresses."
            self.reason = Refusal(HTTPStatus.BAD_REQUEST, ErrorCode.BAD_REQUEST, text)
            raise self.reason
        self._unparsed = 0
        super().on_headers_complete()
        # Headers that come after the body would otherwise join those that were judged.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        self.is_arriving = False
        super().on_message_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)
