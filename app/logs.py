"""The two rotating logs: what happened (never what was said), and the archive of every message."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from json.encoder import encode_basestring
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from app.errors import CannotStart
from app.models import Message
from app.settings import Settings
from app.visible import BEYOND_JSON

LENIENT = "backslashreplace"
"""What to do with half a surrogate pair, which a question may hold: show it."""

logger = logging.getLogger("relay_hub")


class Logs:
    """Writes both logs. Lines keep the seed's form, so that what reads them goes on working."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the files open.

        Raises:
            CannotStart: a file cannot be written.
        """
        at = self._settings
        self._activity = _Log(at.log_path, at.log_bytes, at.log_backup_count)
        try:
            self._archive = _Log(at.channel_log_path, at.channel_log_bytes, at.channel_log_backup_count)
            try:
                yield
            finally:
                self._archive.close()
        finally:
            self._activity.close()

    async def written(self) -> None:
        """Return once everything that was logged so far is in its file."""
        # The files are written at the end of this turn of the event loop.
        await asyncio.sleep(0)

    def activity(self, event: str, **fields: Any) -> None:
        """One line about what happened. Callers pass lengths and ids, never text."""
        self._activity.write(f"INFO {event} {_json(fields)}")

    def posted(self, message: Message) -> None:
        """A message in both logs: that it was posted, and the whole of it in the archive."""
        # Written by hand: these two lines are most of what a post costs in Python.
        target, sender, source = _string(message.target), _string(message.sender), _string(message.source)
        self._activity.write(
            f'INFO post_message {{"id": {message.id}, "target": {target}, "sender": {sender}, '
            f'"text_len": {len(message.text)}, "source": {source}}}'
        )
        self._archive.write(
            f'{{"id": {message.id}, "ts": {message.ts!r}, "target": {target}, "sender": {sender}, '
            f'"text": {_string(message.text)}, "source": {source}}}'
        )


class _Log:
    """A file of lines with the local time in front, rotated by size.

    The standard handler does the rotation; its way of writing a line takes as long as storing a message. What comes in
    one turn of the event loop is written at once.
    """

    def __init__(self, path: Path, size: int, backups: int) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = RotatingFileHandler(path, maxBytes=size, backupCount=backups, encoding="utf-8", errors=LENIENT)
        except OSError as error:
            raise CannotStart(f"Cannot write the log {path}: {error}. Set log_path and channel_log_path.") from None
        self._path = path
        self._most = size
        self._bytes = path.stat().st_size
        self._second = 0
        self._shown = ""
        self._waiting: list[str] = []

    def write(self, text: str) -> None:
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._shown = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        self._waiting.append(f"{self._shown},{int(now % 1 * 1000):03d} {text}\n")
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        lines, self._waiting = self._waiting, []
        try:
            while lines:
                if self._file.stream is None:  # the last write failed
                    self._file.stream = self._file._open()
                    self._bytes = self._path.stat().st_size
                fitting = self._fitting(lines)
                self._file.stream.write("".join(lines[:fitting]))
                self._file.stream.flush()
                lines = lines[fitting:]
        except OSError as error:
            # The messages themselves are stored: a full disk must not make their posts look failed.
            logger.warning("%s cannot be written: %s", self._path, error)
            self._let_go()

    def close(self) -> None:
        self.flush()
        self._let_go()
        self._file.close()

    def _let_go(self) -> None:
        """Close the file, without what could not be written: it would come again with every attempt."""
        stream, self._file.stream = self._file.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()

    def _fitting(self, lines: list[str]) -> int:
        """How many lines go into the file; one at least, into a fresh one if need be."""
        for number, line in enumerate(lines):
            length = len(line) if line.isascii() else len(line.encode(errors=LENIENT))
            if self._bytes and self._bytes + length > self._most:
                if number:
                    return number
                if self._path.is_file():  # and not /dev/null or the like
                    self._file.doRollover()
                self._bytes = 0
            self._bytes += length
        return len(lines)


def _json(fields: dict[str, Any]) -> str:
    return _escaped(json.dumps(fields, ensure_ascii=False))


def _string(text: str) -> str:
    return _escaped(encode_basestring(text))


def _escaped(text: str) -> str:
    return text if text.isascii() and "\x7f" not in text else text.translate(BEYOND_JSON)
