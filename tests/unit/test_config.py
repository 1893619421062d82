"""Settings: ranks of their sources, the seeds' names, and errors that name what to fix."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from app.config import Loaded, SettingsError, load


def loaded(
    tmp_path: Path,
    file: object = None,
    flags: dict[str, Any] | None = None,
    **environ: str,
) -> Loaded:
    """What a hub started in `tmp_path` would use; `file` is its config.json, if there is one."""
    if file is not None:
        (tmp_path / "config.json").write_text(file if isinstance(file, str) else json.dumps(file), "utf-8")
    with contextlib.chdir(tmp_path):
        return load(flags, environ)


def test_without_any_source_the_hub_listens_on_loopback_8010_with_the_seeds_channels(tmp_path: Path) -> None:
    settings = loaded(tmp_path).settings
    assert (settings.host, settings.port) == ("127.0.0.1", 8010)
    assert sorted(settings.channels) == ["claude", "codex", "proj-x"]


def test_each_source_outranks_the_next(tmp_path: Path) -> None:
    sources: dict[str, Any] = {"CLAUDE_CODEX_PORT": "9004"}
    assert loaded(tmp_path, **sources).settings.port == 9004
    assert loaded(tmp_path, {"port": 9003}, **sources).settings.port == 9003
    sources["RELAY_HUB_PORT"] = "9002"
    assert loaded(tmp_path, {"port": 9003}, **sources).settings.port == 9002
    found = loaded(tmp_path, {"port": 9003}, {"port": "9001"}, **sources)
    assert found.settings.port == 9001
    assert found.sources["port"] == "flag"


def test_codex_home_comes_from_the_seeds_variable_then_from_codex_its_own(tmp_path: Path) -> None:
    assert loaded(tmp_path, CODEX_HOME="/b").settings.codex_home == Path("/b")
    both = loaded(tmp_path, CODEX_HOME="/b", THREAD_RELAY_CODEX_HOME="/a")
    assert both.settings.codex_home == Path("/a")
    assert both.sources["codex_home"] == "THREAD_RELAY_CODEX_HOME"


@pytest.mark.parametrize(("text", "names"), [(" a, b ,,", ("a", "b")), ("", ("proj-x", "codex", "claude")), (",", ())])
def test_lists_are_split_at_commas_and_stripped(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    assert loaded(tmp_path, CLAUDE_CODEX_CHANNELS=text).settings.channels == names


@pytest.mark.parametrize("text", ['["app-server", "-c", "a=\\"b c\\""]', "app-server -c 'a=\"b c\"'"])
def test_codex_arguments_are_a_json_array_or_words(tmp_path: Path, text: str) -> None:
    settings = loaded(tmp_path, THREAD_RELAY_CODEX_ARGS=text).settings
    assert settings.codex_args == ("app-server", "-c", 'a="b c"')


def test_mebibytes_from_anywhere_beat_bytes_from_anywhere(tmp_path: Path) -> None:
    mib = 1024 * 1024
    assert loaded(tmp_path).settings.log_bytes == 25 * mib
    assert loaded(tmp_path, CLAUDE_CODEX_LOG_MAX_BYTES="5000").settings.log_bytes == 5000
    both = loaded(tmp_path, {"log_max_bytes": 5000}, CLAUDE_CODEX_LOG_MAX_MB="2")
    assert both.settings.log_bytes == 2 * mib
    assert loaded(tmp_path, {"channel_log_max_bytes": 7}).settings.channel_log_bytes == 7


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ({"log_max_mb": 0}, "log_max_mb must be > 0"),
        ({"prot": 9000}, "Unknown setting prot in .*config.json; did you mean port?"),
        ({"port": "many"}, "port: .*config.json"),
        ({"codex_sandbox": "none"}, "codex_sandbox: .*workspace-write"),
        ({"channels": ["a", 5]}, "channels: .*string"),
        ({"channels": ["a\0b"]}, r"channels: 'a\\x00b' contains control characters"),
        ({"channels": ["\ud800"]}, "channels: .*control characters"),
        ({"database_url": "postgresql://u:geheim@h/d"}, r"database_url: must begin with postgresql\+psycopg://"),
        ({"database_url": "postgresql+psycopg://u:ge/heim@h/d"}, "database_url: host or port is malformed"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(tmp_path: Path, file: object, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint.replace("?", r"\?")) as refused:
        loaded(tmp_path, file)
    assert "heim" not in str(refused.value)


def test_an_unknown_variable_of_ours_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"RELAY_HUB_CHANELS.*did you mean RELAY_HUB_CHANNELS"):
        loaded(tmp_path, RELAY_HUB_CHANELS="a")


def test_a_database_url_may_name_a_port_a_socket_or_a_file(tmp_path: Path) -> None:
    for url in (
        "postgresql+psycopg://u:ge%2Fheim%40@[::1]:5432/d",
        "postgresql+psycopg://u@/d?host=/run/postgresql",
        "sqlite:////srv/hub.db",
    ):
        assert loaded(tmp_path, {"database_url": url}).settings.database == url


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert loaded(tmp_path, '\ufeff{"port": 9003}').settings.port == 9003


@pytest.mark.parametrize("text", ["{bad", "[]", '"text"', "[" * 100_000])
def test_a_broken_file_is_a_warning_and_the_hub_starts_without_it(tmp_path: Path, text: str) -> None:
    found = loaded(tmp_path, text, CLAUDE_CODEX_PORT="9002")
    assert found.settings.port == 9002
    (warning,) = found.warnings
    assert "config.json is ignored" in warning


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    for source in ({"config": tmp_path / "mine.json"}, {"environ": {"RELAY_HUB_CONFIG": f"{tmp_path}/mine.json"}}):
        with pytest.raises(SettingsError, match=r"There is no settings file .*mine.json"):
            load(**source)


def test_paths_become_absolute(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"data_dir": "here"}).settings.data_dir == tmp_path / "here"
