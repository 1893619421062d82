"""The checkout's own virtual environment, for the programs beside this file.

It is made once and brought up to a lock when that has changed. Only the standard library, and readable by Pythons that
are too old for the hub, so that they can say so.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
RECORD = VENV / "relay-hub.json"
"""What the environment was made with and which locks are installed in it."""

NEEDED = (3, 11)


def fail(message: str) -> NoReturn:
    """End with a sentence that says what to do."""
    raise SystemExit(f"{Path(sys.argv[0]).name}: {message}")


def program(name: str) -> Path:
    """A program of the environment."""
    return VENV / "Scripts" / f"{name}.exe" if os.name == "nt" else VENV / "bin" / name


def has_pip() -> bool:
    """Whether this Python can put pip into an environment; Debian ships that part alone."""
    return importlib.util.find_spec("ensurepip") is not None


def install(lock_name: str) -> None:
    """Make the environment hold what a lock names; costs nothing when it does already."""
    if sys.version_info < NEEDED:
        fail(f"Python {'.'.join(map(str, NEEDED))} or newer is needed, this is {sys.version.split()[0]}")
    python = f"{sys.version.split()[0]} {sys.base_prefix}"
    record = _read_record()
    if record.get("python") != python or not program("python").exists():
        if not has_pip():
            fail("this Python has no venv with pip; on Debian: apt install python3-venv")
        # Imported late: every start of the hub passes here, and only the first makes anything.
        import venv

        print(f"Making {VENV}", flush=True)
        venv.create(VENV, clear=True, with_pip=True)
        record = {"python": python}
    digest = hashlib.sha256((ROOT / lock_name).read_bytes()).hexdigest()
    if record.get(lock_name) != digest:
        print(f"Installing {lock_name}", flush=True)
        # The lock is complete, so there is nothing to resolve.
        options = ["-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        pip = [str(program("python")), "-m", "pip", "install", *options, "-r", str(ROOT / lock_name)]
        if subprocess.call(pip):
            fail(f"pip could not install {lock_name}; see above")
        RECORD.write_text(json.dumps({**record, lock_name: digest}), "utf-8")


def _read_record() -> "dict[str, str]":
    try:
        record: dict[str, str] = json.loads(RECORD.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record
