"""Takes an archive of messages into the database: seed A's, or our own, which has the same form.

The seed kept its messages in memory alone and numbered them from 1 at every start, so one archive may hold several
runs whose ids overlap. Messages are stored in the order of the archive; `app.storage.imports` decides their ids.
"""

import glob
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from app.errors import CannotStart
from app.importing.source import OWNER, YEAR_10000, LeftOut, open_source
from app.models import Message
from app.settings import CONTROL, Settings
from app.storage import imports, search
from app.storage.database import Database

BATCH_MESSAGES = 2000
BATCH_BYTES = 4 * 1024 * 1024
"""What is stored at once, and is at most in memory."""
LONGEST_LINE = 64 * 1024 * 1024
MOST_ID = 2**53 - 1
"""Greater numbers do not survive JSON everywhere."""

_STAMP = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")


class NotAMessage(Exception):
    """A line of an archive is no message; the text says why."""


@dataclass
class Imported:
    """What became of the lines of an archive."""

    kept: int = 0  # stored under their own ids
    renumbered: int = 0  # stored under ids from first_new to last_new
    first_new: int = 0
    last_new: int = 0
    known: int = 0  # here already
    left_out: LeftOut = field(default_factory=LeftOut)  # no messages

    def stored(self, messages: Sequence[Message], ids: Sequence[int | None]) -> None:
        for message, new_id in zip(messages, ids, strict=True):
            if new_id is None:
                self.known += 1
            elif new_id == message.id:
                self.kept += 1
            else:
                self.renumbered += 1
                self.first_new = self.first_new or new_id
                self.last_new = new_id


async def import_channel_log(settings: Settings, log: Path, on_file: Callable[[Path], None]) -> Imported:
    """Store the messages of an archive and its rotations, oldest first. `on_file` is told of each file.

    Whatever is here already is passed over, so an import that was cut off is simply run again.

    Raises:
        CannotStart: the files cannot be read, or a hub has the database.
        DatabaseUnavailable: the database stopped working meanwhile; what was stored stays.
    """
    imported = Imported()
    with ExitStack() as stack:
        # All at once: a relay that still writes may rotate its files while we read.
        files = [(path, stack.enter_context(open_source(path))) for path in _newest_first(log)]
        database = Database(settings.database, OWNER)
        await database.open()
        try:
            for batch in _batches(reversed(files), settings.max_name_chars, imported, on_file):
                imported.stored(batch, await database.write(imports.take, batch))
                await database.write(search.index, len(batch))
        finally:
            await database.close()
    return imported


def _newest_first(log: Path) -> list[Path]:
    named = log.parent.glob(f"{glob.escape(log.name)}.*")
    numbered = {path.name.removeprefix(f"{log.name}."): path for path in named}
    rotated = sorted((int(number), path) for number, path in numbered.items() if re.fullmatch("[0-9]+", number))
    found = [path for path in (log, *(path for _, path in rotated)) if path.exists()]
    if not found:
        raise CannotStart(f"There is no channel log {log}")
    return found


def _batches(
    files: Iterator[tuple[Path, IO[bytes]]],
    max_name_chars: int,
    imported: Imported,
    on_file: Callable[[Path], None],
) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for path, file in files:
        on_file(path)
        for number, line in enumerate(_lines(file), 1):
            try:
                batch.append(_message(line, max_name_chars))
            except NotAMessage as reason:
                imported.left_out.add(f"{path}:{number}", reason)
                continue
            size += len(line)
            if len(batch) == BATCH_MESSAGES or size > BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines; of one that is too long only its beginning."""
    while line := file.readline(LONGEST_LINE):
        yield line
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)


def _message(line: bytes, max_name_chars: int) -> Message:
    """The message of a line.

    Raises:
        NotAMessage: it holds none, or one that the hub would not take from anybody.
    """
    stamp = _STAMP.match(line)
    if not stamp:
        raise NotAMessage("does not begin with a time")
    try:
        found = json.loads(line[stamp.end() :].decode())
    except (ValueError, RecursionError):
        raise NotAMessage("broken or cut off") from None
    if not isinstance(found, dict):
        raise NotAMessage("no JSON object")
    message_id: Any = found.get("id")
    ts: Any = found.get("ts")
    if type(message_id) is not int or not 0 < message_id <= MOST_ID:
        raise NotAMessage("id is not a whole number from 1 on")
    if type(ts) not in (int, float) or not 0 <= ts < YEAR_10000:
        raise NotAMessage("ts is not a time in unix seconds")
    target, sender, source = (_name(found, key, max_name_chars) for key in ("target", "sender", "source"))
    return Message(message_id, float(ts), target, sender, _text(found, "text"), source)


def _name(found: dict[str, Any], key: str, max_chars: int) -> str:
    name = _text(found, key).strip()
    if not 0 < len(name) <= max_chars:
        raise NotAMessage(f"{key} must have 1 to {max_chars} characters (max_name_chars)")
    if CONTROL.search(name):
        raise NotAMessage(f"{key} must not contain control characters")
    return name


def _text(found: dict[str, Any], key: str) -> str:
    text = found.get(key)
    if not isinstance(text, str):
        raise NotAMessage(f"{key} is not a text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotAMessage(f"{key} contains a broken surrogate pair") from None
    if "\0" in text:
        raise NotAMessage(f"{key} contains a NUL character")
    return text
