import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.codex.program import QUIET, arguments, command
from app.errors import AppServerUnavailable
from app.settings import Settings

MakeSettings = Callable[..., Settings]


def written(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_arguments_are_the_seeds_and_those_that_keep_codex_quiet(make_settings: MakeSettings) -> None:
    flags = ['approval_policy="never"', 'service_tier="fast"', "mcp_servers.relay.enabled=false"]
    flags += ['mcp_servers.relay.url="http://127.0.0.1:9/mcp"', *QUIET]
    assert arguments(make_settings()) == ["app-server", *(word for flag in flags for word in ("-c", flag))]


def test_a_relay_server_with_a_command_gets_no_url(make_settings: MakeSettings) -> None:
    settings = make_settings()
    written(settings.codex_home / "config.toml", '[mcp_servers.relay]\ncommand = "relay"\n')
    assert "mcp_servers.relay.enabled=false" in arguments(settings)
    assert not any("relay.url" in word for word in arguments(settings))


def test_the_relay_stays_on_where_the_settings_allow_it(make_settings: MakeSettings) -> None:
    assert not any("relay" in word for word in arguments(make_settings(codex_allow_relay=True)))


def test_the_service_tier_is_a_setting(make_settings: MakeSettings) -> None:
    assert 'service_tier="flex"' in arguments(make_settings(codex_service_tier="flex"))


def test_given_arguments_replace_all_of_ours(make_settings: MakeSettings) -> None:
    assert arguments(make_settings(codex_args='["serve", "a b"]')) == ["serve", "a b"]


def test_npx_is_told_the_package(make_settings: MakeSettings) -> None:
    expected = ["-y", "@openai/codex@latest", "app-server"]
    assert arguments(make_settings(codex_command="/usr/bin/npx"))[:3] == expected


@pytest.mark.skipif(sys.platform == "win32", reason="links and x-bits of POSIX")
@pytest.mark.parametrize("place", ["@openai/codex/node_modules/@openai/PLATFORM", "@openai/PLATFORM", "@openai/codex"])
@pytest.mark.parametrize("folder", ["bin", "codex"])
def test_the_npm_wrapper_is_followed_to_the_native_program(
    make_settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, folder: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("sys.platform", "darwin")
    modules = tmp_path / "lib" / "node_modules"
    wrapper = written(modules / "@openai" / "codex" / "bin" / "codex.js")
    vendor = modules / place.replace("PLATFORM", "codex-darwin-arm64") / "vendor"
    native = written(vendor / "aarch64-apple-darwin" / folder / "codex")
    link = tmp_path / "bin" / "codex"
    link.parent.mkdir()
    link.symlink_to(wrapper)
    assert command(make_settings(codex_command=str(link)))[0] == str(native)


def test_a_wrapper_without_its_native_program_runs_as_it_is(make_settings: MakeSettings, tmp_path: Path) -> None:
    wrapper = written(tmp_path / "@openai" / "codex" / "bin" / "codex.js")
    assert command(make_settings(codex_command=str(wrapper)))[0] == str(wrapper)


def test_a_program_that_is_not_there_says_what_to_install(make_settings: MakeSettings) -> None:
    with pytest.raises(AppServerUnavailable, match=r"npm install -g @openai/codex.*codex_command") as caught:
        command(make_settings(codex_command="/nonexistent"))
    assert caught.value.details == {"cause": "/nonexistent: command not found"}
