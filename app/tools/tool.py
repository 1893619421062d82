"""What a tool is, and what it may answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel

from app.models import Principal, Scope

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
    principal: Principal
    thread_id: str | None = None
    """The Codex thread that calls, as Codex says. Nobody vouches for it: it limits, it never permits."""


@dataclass(frozen=True)
class Tool:
    """A tool's name and description as clients see them, its input, and what it does."""

    name: str
    description: str
    input: type[BaseModel]
    run: Callable[[Any, Call], Awaitable[Answer]]
    scope: Scope
    """The right that a call needs."""
    read_only: bool = False
    waits: bool = False
    """It may take long, and reports progress meanwhile."""
    caller: str | None = None
    """The argument that says who calls. Whoever is known by a name may leave it out."""

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The input's JSON schema, without what only costs a model tokens."""
        full = self.input.model_json_schema(by_alias=True)
        lean: dict[str, Any] = _lean(full, full.pop("$defs", {}))
        return lean


def _lean(schema: Any, named: dict[str, Any]) -> Any:
    """Drop titles, put named parts in their places, and write "this or null" as "this": an optional argument may
    simply be left out."""
    if isinstance(schema, list):
        return [_lean(part, named) for part in schema]
    if not isinstance(schema, dict):
        return schema
    choices = schema.get("anyOf", [])
    if len(choices) == 2 and {"type": "null"} in choices:
        (real,) = (choice for choice in choices if choice != {"type": "null"})
        schema = {**real, **{key: value for key, value in schema.items() if key not in ("anyOf", "default")}}
    if reference := schema.get("$ref"):
        # Such a part is described for programmers.
        part = {key: value for key, value in named[reference.rpartition("/")[2]].items() if key != "description"}
        schema = {**part, **{key: value for key, value in schema.items() if key != "$ref"}}
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    properties = {name: _lean(part, named) for name, part in kept.pop("properties", {}).items()}
    lean = {
        key: _lean(value, named) for key, value in kept.items() if key != "description" or "properties" not in schema
    }
    return {**lean, "properties": properties} if properties or schema.get("type") == "object" else lean
