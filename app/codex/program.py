"""Which program serves Codex, and with which arguments."""

import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.errors import AppServerUnavailable
from app.settings import Settings

INSTALL_HINT = "Install Codex with `npm install -g @openai/codex`, or set `codex_command` to the program."
QUIET = (
    "thread_unload_delay_secs=0",
    "features.plugins=false",
    "features.unbounded_connection_retries=false",
    "analytics.enabled=false",
    "check_for_update_on_startup=false",
)
NOWHERE = "http://127.0.0.1:9/mcp"


def command(settings: Settings) -> list[str]:
    """The program and its arguments.

    Raises:
        AppServerUnavailable: the program is not to be found.
    """
    name = settings.codex_command
    found = shutil.which(name)
    if found is None:
        cause = f"{name}: command not found"
        raise AppServerUnavailable(f"Failed to start codex app-server: {cause}. {INSTALL_HINT}", cause=cause)
    return [str(_native(Path(found)) or found), *arguments(settings)]


def arguments(settings: Settings) -> list[str]:
    """`codex_args` where given, else the hub's own."""
    if settings.codex_args:
        return list(settings.codex_args)
    # Every turn says when it asks; what would not say so is to ask nobody.
    values = ['approval_policy="never"', f'service_tier="{settings.codex_service_tier}"']
    if not settings.codex_allow_relay:
        values += _relay_disabled(settings.codex_home / "config.toml")
    package = ["-y", "@openai/codex@latest"] if "npx" in Path(settings.codex_command).name else []
    return [*package, "app-server", *(word for value in [*values, *QUIET] for word in ("-c", value))]


def _relay_disabled(config: Path) -> list[str]:
    """Codex refuses an MCP server that has neither `url` nor `command`, also a disabled one. So it
    gets a URL that leads nowhere, unless config.toml gives a command, which excludes a URL. This
    holds when the user adds or removes the server while the app-server runs: Codex reads again."""
    values = ["mcp_servers.relay.enabled=false"]
    if "command" not in _relay_table(config):
        values.append(f'mcp_servers.relay.url="{NOWHERE}"')
    return values


def _relay_table(config: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(config.read_text("utf-8"))["mcp_servers"]["relay"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return table if isinstance(table, dict) else {}


def _native(found: Path) -> Path | None:
    """The native program behind npm's Node wrapper: killing the wrapper leaves the native one alive
    and holding its threads. None where `found` is not that wrapper."""
    for package in _packages(found):
        if not (package / "bin" / "codex.js").is_file():
            continue
        for vendor in _vendors(package):
            suffix = ".exe" if sys.platform == "win32" else ""
            # Older packages had the folder `codex` where newer ones have `bin`.
            for folder in ("bin", "codex"):
                for program in sorted(vendor.glob(f"*/{folder}/codex{suffix}")):
                    return program
    return None


def _packages(found: Path) -> Iterator[Path]:
    """Where the package may be: above a link's target, or beside a Windows shim."""
    real = found.resolve()
    if real.name == "codex.js":
        yield real.parent.parent
    if found.suffix.lower() in (".cmd", ".ps1"):
        yield found.parent / "node_modules" / "@openai" / "codex"


def _vendors(package: Path) -> Iterator[Path]:
    system = {"linux": "linux", "darwin": "darwin", "win32": "win32"}.get(sys.platform, "linux")
    machine = "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x64"
    name = f"codex-{system}-{machine}"
    yield package / "node_modules" / "@openai" / name / "vendor"
    yield package.parent / name / "vendor"
    yield package / "vendor"
