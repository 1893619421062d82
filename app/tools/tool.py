"""What a tool is, and what it may answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel

Tick = Callable[[float, str | None], Awaitable[None]]

InputT = TypeVar("InputT", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    """A result: the payload is for programs, the text for whoever reads along."""

    payload: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Call:
    """Who calls a tool, and how to tell them that it is still at work."""

    tick: Tick
    """Takes the seconds that have passed, and in a few words what goes on, if that is known."""
    thread_id: str | None = None
    """The Codex thread that calls, as Codex says. Nobody vouches for it: it limits, it never permits."""


@dataclass(frozen=True)
class Tool:
    """A tool's name and description as clients see them, its input, and what it does."""

    name: str
    description: str
    input: type[BaseModel]
    run: Callable[[Any, Call], Awaitable[Answer]]
    read_only: bool = False
    waits: bool = False
    """It may take long, and reports progress meanwhile."""

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The input's JSON schema, without what only costs a model tokens."""
        lean: dict[str, Any] = _lean(self.input.model_json_schema(by_alias=True))
        return lean


def _lean(schema: Any) -> Any:
    """Drop titles, and write "this or null" as "this": an optional argument may simply be left out."""
    if isinstance(schema, list):
        return [_lean(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    choices = schema.get("anyOf", [])
    if len(choices) == 2 and {"type": "null"} in choices:
        (real,) = (choice for choice in choices if choice != {"type": "null"})
        schema = {**real, **{key: value for key, value in schema.items() if key not in ("anyOf", "default")}}
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    properties = {name: _lean(part) for name, part in kept.pop("properties", {}).items()}
    lean = {key: _lean(value) for key, value in kept.items() if key != "description" or "properties" not in schema}
    return {**lean, "properties": properties} if properties or schema.get("type") == "object" else lean
