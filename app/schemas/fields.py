"""Kinds of fields, the base of all shapes, and how a wrong input is explained."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from app.errors import BadRequest


def iso(seconds: float | None) -> str | None:
    """Unix seconds as `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain NUL characters")
    return text


Time = Annotated[str, BeforeValidator(lambda value: iso(value) if isinstance(value, float) else value)]
Storable = AfterValidator(_without_nul)
Id = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), Storable]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), Storable]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), Storable]
Seconds = Annotated[int, Field(ge=1, le=3600)]


class Wire(BaseModel):
    """camelCase outside, snake_case inside; what is not known is refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


def explain(error: ValidationError) -> BadRequest:
    """The first thing that is wrong with an input, in words that name the field and the remedy."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"]) or "input"
    bounds = problem.get("ctx", {})
    match problem["type"]:
        case "missing" | "string_too_short":
            text = f"{field} is required"
        case "nul":
            text = f"{field} {problem['msg']}"
        case "string_unicode":
            text = f"{field} contains a broken surrogate pair"
        case "string_type":
            text = f"{field} must be a string"
        case "string_too_long":
            text = f"{field} must have at most {bounds['max_length']} characters"
        case "bool_type" | "bool_parsing":
            text = f"{field} must be true or false"
        case "int_type" | "int_parsing" | "int_from_float" | "int_parsing_size":
            text = f"{field} must be a whole number"
        case "greater_than_equal":
            text = f"{field} must be at least {bounds['ge']}"
        case "less_than_equal":
            text = f"{field} must be at most {bounds['le']}"
        case "extra_forbidden":
            text = f"{field} is not known here; check its spelling"
        case _:
            text = f"{field}: {problem['msg']}"
    return BadRequest(text, field=field)
