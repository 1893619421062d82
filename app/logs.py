"""The two rotating logs: what happened (never what was said), and the archive of every message."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from app.errors import CannotStart
from app.models import Message
from app.settings import Settings

# JSON escapes only C0 itself; the rest would let a message forge lines or drive a terminal that shows the log.
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


class Logs:
    """Writes both logs. Lines keep the seed's form, so that what reads them goes on working."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Loggers of our own and not of the process: two hubs in one process must not share a file.
        self._activity = logging.Logger("claude_codex", logging.INFO)
        self._archive = logging.Logger("claude_codex.channel_messages", logging.INFO)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the files open.

        Raises:
            CannotStart: a file cannot be written.
        """
        at = self._settings
        pairs = [
            (
                self._activity,
                _handler(at.log_path, at.log_bytes, at.log_backup_count, "%(asctime)s %(levelname)s %(message)s"),
            ),
            (
                self._archive,
                _handler(
                    at.channel_log_path,
                    at.channel_log_bytes,
                    at.channel_log_backup_count,
                    "%(asctime)s %(message)s",
                ),
            ),
        ]
        for logger, handler in pairs:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger, handler in pairs:
                logger.removeHandler(handler)
                handler.close()

    def activity(self, event: str, **fields: Any) -> None:
        """One line about what happened. Callers pass lengths and ids, never text."""
        self._activity.info("%s %s", event, _json(fields))

    def archive(self, message: Message) -> None:
        """One line with the whole message."""
        row = message.model_dump(include={"id", "ts", "target", "sender", "text", "source"})
        keys = ("id", "ts", "target", "sender", "text", "source")
        self._archive.info("%s", _json({key: row[key] for key in keys}))


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False).translate(_ESCAPED)


def _handler(path: Path, size: int, backups: int, form: str) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=size, backupCount=backups, encoding="utf-8")
    except OSError as error:
        raise CannotStart(f"Cannot write the log {path}: {error}. Set log_path and channel_log_path.") from None
    handler.setFormatter(logging.Formatter(form))
    return handler
