import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.codex.address import MAX_PATH_BYTES, listening, sockets
from app.codex.program import arguments
from app.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets of POSIX")

MakeSettings = Callable[..., Settings]


@pytest.fixture
def long_name(tmp_path: Path) -> Path:
    """A data folder whose sockets could not be opened."""
    return tmp_path / ("d" * MAX_PATH_BYTES)


@pytest.fixture
def temporary(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_path))
    return short_path / f"relay-hub-{os.getuid()}"


def socket_of(settings: Settings) -> Path:
    path = listening(settings)[1]
    assert path is not None
    return path


def test_the_socket_is_in_the_data_folder_and_the_last_argument(make_settings: MakeSettings) -> None:
    settings = make_settings()
    argv, path = listening(settings)
    assert path is not None
    assert path.parent == settings.data_dir
    assert argv[1:] == [*arguments(settings), "--listen", f"unix://{path}"]
    assert listening(settings) == (argv, path)


@pytest.mark.parametrize(
    "other", [{"codex_home": Path("/other/home")}, {"codex_command": "true"}, {"codex_service_tier": "flex"}]
)
def test_other_settings_have_another_socket(make_settings: MakeSettings, other: dict[str, Any]) -> None:
    assert socket_of(make_settings(**other)) != socket_of(make_settings())


def test_a_long_data_folder_has_its_sockets_in_a_private_one(
    make_settings: MakeSettings, long_name: Path, temporary: Path
) -> None:
    path = socket_of(make_settings(data_dir=long_name))
    assert path.parent == temporary
    assert temporary.stat().st_mode & 0o777 == 0o700
    assert socket_of(make_settings(data_dir=long_name.with_name("e" * MAX_PATH_BYTES))) != path


def test_a_folder_that_others_may_write_to_is_not_used(
    make_settings: MakeSettings, long_name: Path, temporary: Path
) -> None:
    settings = make_settings(data_dir=long_name)
    temporary.mkdir()
    temporary.chmod(0o770)
    assert listening(settings)[1] is None
    assert sockets(settings) == []


def test_a_link_in_place_of_the_private_folder_is_not_followed(
    make_settings: MakeSettings, long_name: Path, temporary: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    temporary.symlink_to(elsewhere)
    assert listening(make_settings(data_dir=long_name))[1] is None


def test_given_arguments_have_the_socket_that_they_name_or_none(make_settings: MakeSettings) -> None:
    assert listening(make_settings(codex_args=("app-server",)))[1] is None
    named = ("app-server", "--listen", "unix:///run/codex.sock")
    argv, path = listening(make_settings(codex_args=named))
    assert path == Path("/run/codex.sock")
    assert tuple(argv[1:]) == named
