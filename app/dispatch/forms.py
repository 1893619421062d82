"""What a human is to fill in: the fields of Codex's questions and of an MCP server's form, and their values."""

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from app.errors import BadRequest

INPUT = "answer:"
"""How inputs are called in HTML: a field may have any name."""
MOST_FIELDS = 50
MOST_OPTIONS = 200
MOST_TEXT = 20_000
"""Characters of one value."""


class FieldKind(StrEnum):
    TEXT = "text"
    SECRET = "secret"  # noqa: S105 - it is not shown, and not kept
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    ONE = "one"  # of the options
    ANY = "any"  # number of the options


class Option(NamedTuple):
    value: str
    title: str
    help: str = ""


class Field(NamedTuple):
    """One thing to fill in."""

    name: str
    label: str
    kind: FieldKind
    help: str = ""
    options: tuple[Option, ...] = ()
    or_else: bool = False
    """Whether a text of one's own may stand in place of an option."""
    required: bool = True
    default: Any = None
    least: float | None = None
    """Of a number, or of the length of a text, or of how many are chosen."""
    most: float | None = None


class UnknownForm(Exception):
    """A question of a form that cannot be shown to a human."""


def of_questions(questions: Any) -> list[Field]:
    """The fields of Codex's own questions, which have to be answered one and all."""
    fields = []
    for question in _list(questions):
        options = tuple(
            Option(label, label, _text(each.get("description")))
            for each in _list(question.get("options") or [])
            if (label := _text(each.get("label")))
        )
        kind = FieldKind.SECRET if question.get("isSecret") else FieldKind.ONE if options else FieldKind.TEXT
        label = _text(question.get("question")) or _text(question.get("header"))
        header = _text(question.get("header"))
        fields.append(
            Field(
                _name(question.get("id")),
                label,
                kind,
                header if header != label else "",
                options,
                or_else=bool(question.get("isOther")),
                least=1,
            )
        )
    return _checked(fields)


def of_schema(schema: Any) -> list[Field]:
    """The fields of an MCP server's form: an object of plain values.

    Raises:
        UnknownForm: there is something else in it.
    """
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        raise UnknownForm("a form without properties")
    required = schema.get("required") or []
    return _checked([_field(_name(name), each, name in required) for name, each in properties.items()])


def read(fields: Sequence[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were given, each as its field wants it.

    Raises:
        BadRequest: one is missing, of another kind, or not possible; `field` names it.
    """
    known = {field.name: field for field in fields}
    for name in given:
        if name not in known:
            raise BadRequest(f"answer.{name} is not asked for", field=name)
    values = {}
    for name, field in known.items():
        value = given.get(name)
        if value is None or (value == "" and not field.required) or value == []:
            if field.required:
                raise BadRequest(f"{field.label} ({name}) has to be answered", field=name)
            continue
        values[name] = _value(field, value)
    return values


def from_texts(fields: Sequence[Field], texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What a form of HTML brings, as `read` takes it. `texts` are by the names of its inputs: `answer:` and the name of
    the field; with `+` after it, a text of one's own."""
    given: dict[str, Any] = {}
    for field in fields:
        found = [text.replace("\r\n", "\n") for text in texts.get(f"{INPUT}{field.name}", ())]
        first = found[0] if found else ""
        match field.kind:
            case FieldKind.BOOLEAN:
                given[field.name] = bool(first)
            case FieldKind.ANY:
                given[field.name] = found
            case FieldKind.NUMBER | FieldKind.INTEGER if first:
                given[field.name] = _number(first)
            case _:
                own = "".join(texts.get(f"{INPUT}{field.name}+", ())[:1]) if field.or_else else ""
                given[field.name] = own.strip() or first or ("" if not field.required else None)
    return given


def _field(name: str, schema: Any, required: bool) -> Field:
    if not isinstance(schema, dict):
        raise UnknownForm("a field without a type")
    made: dict[str, Any] = {"help": _text(schema.get("description")), "required": required}
    made |= {"default": schema.get("default")}
    label, options = _text(schema.get("title")) or name, _options(schema)
    match schema.get("type"):
        case "string" if options:
            return Field(name, label, FieldKind.ONE, options=options, **made)
        case "string":
            least, most = _limit(schema.get("minLength")), _limit(schema.get("maxLength"))
            return Field(name, label, FieldKind.TEXT, least=least, most=most, **made)
        case "number" | "integer" as kind:
            least, most = _limit(schema.get("minimum")), _limit(schema.get("maximum"))
            return Field(name, label, FieldKind(kind), least=least, most=most, **made)
        case "boolean":
            return Field(name, label, FieldKind.BOOLEAN, **made)
        case "array" if options := _options(schema.get("items") or {}):
            least, most = _limit(schema.get("minItems")), _limit(schema.get("maxItems"))
            return Field(name, label, FieldKind.ANY, options=options, least=least, most=most, **made)
    raise UnknownForm(f"a field of type {schema.get('type')}")


def _options(schema: dict[str, Any]) -> tuple[Option, ...]:
    for titled in ("oneOf", "anyOf"):
        if rows := schema.get(titled):
            return tuple(Option(_name(row.get("const")), _text(row.get("title"))) for row in _list(rows))
    values = schema.get("enum") or []
    names = schema.get("enumNames") or values
    if not isinstance(values, list) or not isinstance(names, list) or len(names) != len(values):
        raise UnknownForm("options without names")
    return tuple(Option(_name(value), _text(name)) for value, name in zip(values, names, strict=True))


def _checked(fields: list[Field]) -> list[Field]:
    if len(fields) > MOST_FIELDS or any(len(field.options) > MOST_OPTIONS for field in fields):
        raise UnknownForm("too many fields or options")
    if len({field.name for field in fields}) < len(fields):
        raise UnknownForm("two fields of one name")
    return fields


def _value(field: Field, value: Any) -> Any:
    wrong = BadRequest(f"{field.label} ({field.name}) {_wanted(field)}", field=field.name)
    size: float = 0
    match field.kind:
        case FieldKind.BOOLEAN:
            if not isinstance(value, bool):
                raise wrong
            return value
        case FieldKind.NUMBER | FieldKind.INTEGER:
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or (field.kind is FieldKind.INTEGER and value != int(value)):
                raise wrong
            size = value
            value = int(value) if field.kind is FieldKind.INTEGER else value
        case FieldKind.ANY:
            possible = {option.value for option in field.options}
            if not isinstance(value, list) or not all(isinstance(each, str) and each in possible for each in value):
                raise wrong
            size = len(value)
        case _:
            if not isinstance(value, str) or len(value) > MOST_TEXT or "\0" in value:
                raise wrong
            if field.options and not field.or_else and value not in {option.value for option in field.options}:
                raise wrong
            size = len(value)
    if (field.least is not None and size < field.least) or (field.most is not None and size > field.most):
        raise wrong
    return value


def _wanted(field: Field) -> str:
    match field.kind:
        case FieldKind.BOOLEAN:
            words = "must be true or false"
        case FieldKind.NUMBER | FieldKind.INTEGER:
            words = "must be a whole number" if field.kind is FieldKind.INTEGER else "must be a number"
        case FieldKind.ANY | FieldKind.ONE if not field.or_else:
            words = f"must be of: {', '.join(option.value for option in field.options)}"[:500]
        case _:
            words = f"must be a text of at most {MOST_TEXT} characters"
    bounds = [f"{name} {bound:g}" for name, bound in (("at least", field.least), ("at most", field.most)) if bound]
    return f"{words} ({', '.join(bounds)})" if bounds else words


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 200:
        raise UnknownForm("a name that is none")
    return value


def _list(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise UnknownForm("no list of objects")
    return value


def _limit(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
