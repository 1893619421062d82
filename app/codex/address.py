"""Where an app-server that outlives the hub listens: a unix socket whose name tells what was started with what."""

import hashlib
import os
import stat
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from app.codex.program import command
from app.settings import Settings

MAX_PATH_BYTES = 100
"""A socket's path may have 107 bytes on Linux and 103 on macOS."""


def listening(settings: Settings) -> tuple[list[str], Path | None]:
    """The command line of the app-server, and the socket that it serves; None: standard streams.

    The same program, arguments and Codex home give the same path, so nobody attaches to an
    app-server that was started with other settings.

    Raises:
        AppServerUnavailable: the program is not to be found.
    """
    argv = command(settings)
    if settings.codex_args:
        return argv, _given(settings.codex_args)
    place = _place(settings)
    if place is None or not _usable(place[0]):
        return argv, None
    folder, stem = place
    path = folder / f"{stem}{_digest(str(settings.codex_home), *argv)}.sock"
    return [*argv, "--listen", f"unix://{path}"], path


def sockets(settings: Settings) -> list[Path]:
    """The sockets of all app-servers of hubs with this data folder, whatever their other settings."""
    place = _place(settings)
    if place is None or not place[0].exists() or not _usable(place[0]):
        return []
    folder, stem = place
    return sorted(path for path in folder.glob(f"{stem}*.sock") if path.is_socket())


def _given(arguments: tuple[str, ...]) -> Path | None:
    """The socket that `codex_args` name."""
    for option, value in pairwise(arguments):
        if option == "--listen" and value.startswith("unix:///") and sys.platform != "win32":
            return Path(value.removeprefix("unix://"))
    return None


def _place(settings: Settings) -> tuple[Path, str] | None:
    """The folder, and how the names of this data folder's sockets begin."""
    if sys.platform == "win32":
        # Codex makes an ordinary file there.
        return None
    if len(os.fsencode(settings.data_dir / f"codex-{_digest()}.sock")) <= MAX_PATH_BYTES:
        return settings.data_dir, "codex-"
    folder = Path(tempfile.gettempdir()) / f"relay-hub-{os.getuid()}"
    return folder, f"codex-{_digest(str(settings.data_dir))}-"


def _usable(folder: Path) -> bool:
    """Whether sockets can be in the folder, which is made if need be. One in the folder for temporary
    files must be ours alone: whoever else could put a socket there would be sent our prompts."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    shared = folder.parent == Path(tempfile.gettempdir())
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return private or not shared


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode(errors="surrogateescape")).hexdigest()[:8]
