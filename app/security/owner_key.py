"""The hub's own key: whoever can read it in the data folder may do everything, without any set-up."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from app.errors import CannotStart
from app.security.tokens import new_secret

NAME = "owner-key"


def read(data_dir: Path) -> str | None:
    """The key, or None where there is none that others could not have read."""
    try:
        with (data_dir / NAME).open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(200).strip()
    except (OSError, ValueError):
        return None
    # Windows keeps no such modes; there the folder is the user's own.
    is_private = os.name != "posix" or not mode & (stat.S_IRWXG | stat.S_IRWXO)
    return key if is_private and key.startswith("rh_") else None


def ensure(data_dir: Path) -> str:
    """The key, made if there is none.

    Raises:
        CannotStart: the folder cannot be written.
    """
    if key := read(data_dir):
        return key
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        (data_dir / NAME).unlink(missing_ok=True)
        # Written under another name first: nobody reads half a key, and hubs that start together take the same one.
        descriptor, written = tempfile.mkstemp(dir=data_dir, prefix=f"{NAME}.")
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(new_secret())
            with suppress(FileExistsError):
                os.link(written, data_dir / NAME)
        finally:
            Path(written).unlink()
    except OSError as error:
        raise CannotStart(
            f"Cannot write {data_dir / NAME}: {error.strerror}. Set data_dir to another folder."
        ) from None
    if key := read(data_dir):
        return key
    raise CannotStart(f"{data_dir / NAME} can be read by others, and the file system does not let that be changed.")
