"""The command line of `relay-hub call`: which tool, with which arguments.

The tools belong to the hub. So a line is read twice: once without knowing them, and once more with the tool's schema.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.cli.mcp_client import CallFailed

WITH_VALUE = ("params-json", "params-file", "message-file", "url", "config")


class WrongUsage(Exception):
    """The command line cannot be understood; the text says where."""


@dataclass
class Words:
    """A command line, understood as far as it can be without the tool's schema."""

    tool: str | None = None
    wants_help: bool = False
    as_json: bool = False
    options: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str | bool] = field(default_factory=dict)  # as they are written: `thread-id`


def parse(arguments: Sequence[str]) -> Words:
    """Read a command line.

    Raises:
        WrongUsage: there is a second positional argument, or an option lacks its value.
    """
    words = Words()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "-h":
            words.wants_help = True
            continue
        if not word.startswith("--"):
            if words.tool is not None:
                raise WrongUsage(f"Unexpected positional argument: {word}")
            words.tool = word
            continue
        name, equals, value = word[2:].partition("=")
        is_switch = name in ("json", "help")  # these take the next word only if it can be nothing else
        if not equals and rest and (rest[0] in ("true", "false") if is_switch else not rest[0].startswith("--")):
            equals, value = "=", rest.pop(0)
        if name == "json":
            words.as_json = value != "false"
        elif name == "help":
            words.wants_help = value != "false"
        elif name not in WITH_VALUE:
            words.flags[name] = value if equals else True
        elif equals:
            words.options[name] = value
        else:
            raise WrongUsage(f"--{name} needs a value")
    return words


def merged(words: Words, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the call, merged by rank.

    Raises:
        CallFailed: a file cannot be read, or holds no JSON object.
    """
    options = words.options
    arguments: dict[str, Any] = {}
    if "params-json" in options:
        arguments |= _object(options["params-json"], "--params-json")
    if "params-file" in options:
        arguments |= _object(_read(options["params-file"]), options["params-file"])
    if "message-file" in options:
        arguments["message"] = _read(options["message-file"])
    # Tools of channels write since_id, those of threads threadId: both are asked for by --since-id and --thread-id.
    names = {kebab(name): name for name in properties}
    for flag, value in words.flags.items():
        name = names.get(flag) or re.sub("-(.)", lambda match: match[1].upper(), flag)
        arguments[name] = _typed(value, properties.get(name, {}).get("type"))
    return arguments


def kebab(name: str) -> str:
    return re.sub("_|(?=[A-Z])", "-", name).lower()


def _typed(value: str | bool, kind: str | None) -> Any:
    """The value as the schema wants it. What does not fit stays as it is: the hub says what is wrong with it."""
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind == "integer" and isinstance(value, str) and re.fullmatch("-?[0-9]{1,18}", value):
        return int(value)
    return value


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise CallFailed("bad_request", f"Cannot read {path}: {reason}", {"path": path}) from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CallFailed("bad_request", f"{where} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise CallFailed("bad_request", f"{where} must be a JSON object")
    return found
