"""What the importers share: opening what an older relay wrote, and telling what of it was left out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from app.errors import CannotStart

OWNER = "relay-hub import"
"""Who has the database: read by whoever starts a hub on it meanwhile."""
EXAMPLES = 5
YEAR_10000 = 253_402_300_800
"""Later times, in unix seconds, cannot be shown."""


@dataclass
class LeftOut:
    """What could not be taken: how much, and the first few with the reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, where: str, why: object) -> None:
        self.count += 1
        if self.count <= EXAMPLES:
            self.examples.append(f"{where}: {why}")


def open_source(path: Path) -> IO[bytes]:
    """
    Raises:
        CannotStart: the file cannot be read.
    """
    try:
        return path.open("rb", buffering=1024 * 1024)
    except OSError as error:
        raise CannotStart(f"Cannot read {path}: {error.strerror}") from None
