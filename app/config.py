"""Where settings come from, and which source wins.

Rank, highest first: command-line flag, `RELAY_HUB_<NAME>`, `config.json`, the seeds' own variables (`CLAUDE_CODEX_*`,
`THREAD_RELAY_*`, which keep their documented place below the file), the default.
"""

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.errors import CannotStart
from app.settings import ENV_PREFIX, Settings

FOR_OTHERS = (f"{ENV_PREFIX}CONFIG", f"{ENV_PREFIX}TOKEN", f"{ENV_PREFIX}TEST_")
"""Variables under our prefix that are not settings."""


class SettingsError(CannotStart):
    """A setting is unknown or has a value that cannot work; the text names it and says what to do."""


@dataclass(frozen=True)
class Loaded:
    """Settings, the source of each value that is not a default, and warnings to print."""

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Loaded:
    """Merge all sources by rank.

    Raises:
        SettingsError: a key is unknown or a value does not fit.
    """
    environ = os.environ if environ is None else environ
    named = config or environ.get(f"{ENV_PREFIX}CONFIG")
    path = Path(named or "config.json")
    if named and not path.is_file():
        raise SettingsError(f"There is no settings file {path}")
    file_values, warnings = _read_file(path)
    _refuse_unknown(file_values, str(path))
    own = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environ.items()
        if value and name.startswith(ENV_PREFIX) and not name.startswith(FOR_OTHERS)
    }
    _refuse_unknown(own, "the environment", ENV_PREFIX)

    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        aliases = extra.get("aliases", ()) if isinstance(extra, dict) else ()
        candidates = [
            ("flag", (flags or {}).get(name)),
            (f"{ENV_PREFIX}{name.upper()}", own.get(name)),
            (str(path), file_values.get(name)),
            *((alias, environ.get(alias) or None) for alias in _strings(aliases)),
        ]
        for source, value in candidates:
            if value is not None:
                values[name], sources[name] = value, source
                break
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error, sources)) from error
    return Loaded(settings, sources, tuple(warnings))


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list | tuple) else ()


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The file's object; anything unreadable is a warning, as the seed started without it."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError, RecursionError) as error:
        return {}, [f"{path} is ignored: {error}"]
    if not isinstance(content, dict):
        return {}, [f"{path} is ignored: it must hold a JSON object"]
    return content, []


def _refuse_unknown(values: Mapping[str, Any], where: str, prefix: str = "") -> None:
    for name in values:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            shown = prefix + (name.upper() if prefix else name)
            hint = f"; did you mean {prefix + (near[0].upper() if prefix else near[0])}?" if near else ""
            raise SettingsError(f"Unknown setting {shown} in {where}{hint}")


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0])
        if problem["type"] == "default_factory_not_called":  # only because another setting is wrong
            continue
        if problem["type"] == "greater_than" and name.startswith(("log_max", "channel_log_max")):
            text = f"{name} must be > 0"
        else:
            text = f"{name}: {problem['msg'].removeprefix('Value error, ')}"
        lines.append(f"{text} (from {sources.get(name, 'the default')})")
    return "\n".join(lines)
