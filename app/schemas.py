"""Wire shapes that MCP and the JSON API share. Keys are stable and camelCase, but for the seed's messages."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, PydanticSerializationError, to_json

from app.dispatch.recovery import Standing
from app.errors import BadRequest
from app.models import CallbackStatus, Dispatch, DispatchRequest, DispatchStatus, Message


def iso(seconds: float | None) -> str | None:
    """Unix seconds as `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain NUL characters")
    return text


KEPT_MESSAGES = 1000
KEPT_CHARS = 8000
# Many programs that read event streams line by line take these for the end of a line.
_LINE_ENDS = [(chr(code).encode(), b"\\u%04x" % code) for code in (0x85, 0x2028, 0x2029)]

Time = Annotated[str, BeforeValidator(lambda value: iso(value) if isinstance(value, float) else value)]
Storable = AfterValidator(_without_nul)
Id = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), Storable]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), Storable]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), Storable]
Seconds = Annotated[int, Field(ge=1, le=3600)]


class MessageOut(BaseModel):
    """A message. `reply_to` and `dispatch_id` are left out where there is none."""

    id: int
    ts: float = Field(description="Unix seconds.")
    target: str = Field(description="The channel.")
    sender: str
    text: str
    source: str = Field(description="The door it came through.")
    reply_to: int | None = None
    dispatch_id: str | None = None


def message_json(message: Message) -> dict[str, Any]:
    """A message as MessageOut describes it. Made by hand: validating our own values again is most of a small answer."""
    shown: dict[str, Any] = {
        "id": message.id,
        "ts": message.ts,
        "target": message.target,
        "sender": message.sender,
        "text": message.text,
        "source": message.source,
    }
    if message.reply_to is not None:
        shown["reply_to"] = message.reply_to
    if message.dispatch_id is not None:
        shown["dispatch_id"] = message.dispatch_id
    return shown


def kept_if_short(encode: Callable[[Message], bytes]) -> Callable[[Message], bytes]:
    """The same encoder, which remembers what it made of messages that are not long."""
    kept = lru_cache(KEPT_MESSAGES)(encode)
    return lambda message: (kept if len(message.text) <= KEPT_CHARS else encode)(message)


class MessageBytes:
    """Messages as JSON bytes, kept while they are in demand: encoding a page of them costs more than reading it."""

    def __init__(self) -> None:
        self.one = kept_if_short(_message_bytes)

    def many(self, messages: Iterable[Message]) -> bytes:
        """A JSON array."""
        return b"[" + b",".join(map(self.one, messages)) + b"]"


def json_bytes(value: Any) -> bytes:
    """Compact JSON. Half a surrogate pair, which a question may echo, stays an escape: it has no bytes."""
    try:
        return to_json(value)
    except PydanticSerializationError:
        return json.dumps(value, separators=(",", ":")).encode()


def _message_bytes(message: Message) -> bytes:
    encoded = to_json(message_json(message))
    if not encoded.isascii():
        for line_end, escape in _LINE_ENDS:
            encoded = encoded.replace(line_end, escape)
    return encoded


class Wire(BaseModel):
    """camelCase outside, snake_case inside; what is not known is refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class DispatchIn(Wire):
    """A request for a thread of a project."""

    project_id: Id = Field(description="From relay_list_projects.")
    message: Text
    thread_id: Id | None = Field(None, description="This thread exactly; never creates one.")
    thread_name: Name | None = Field(None, description="The thread of exactly this name.")
    query: Id | None = Field(None, description="Part of id, name or status of one thread.")
    create_if_missing: bool = Field(False, description="Make a thread if none matches.")
    timeout_sec: Seconds | None = None

    def request(self) -> DispatchRequest:
        return DispatchRequest(**self.model_dump())


class DispatchAsyncIn(DispatchIn):
    """A request that is accepted now and worked on later."""

    callback_thread_id: Id | None = Field(None, description="Thread to tell how it ended.")


class AcceptedOut(Wire):
    """The receipt of an accepted dispatch."""

    dispatch_id: str
    project_id: str
    thread_id: str
    thread_name: str
    created: bool
    resolution: str
    accepted_at: Time
    callback_requested: bool
    state_path: str

    @classmethod
    def of(cls, dispatch: Dispatch, state_path: str) -> "AcceptedOut":
        own = {name: getattr(dispatch, name) for name in cls.model_fields if name in Dispatch.model_fields}
        return cls(
            **own,
            dispatch_id=dispatch.id,
            callback_requested=dispatch.callback_thread_id is not None,
            state_path=state_path,
        )


class DispatchOut(Wire):
    """A dispatch as it stands, every field always present."""

    dispatch_id: str
    project_id: str
    thread_id: str
    thread_name: str
    message: str
    timeout_sec: int | None
    created: bool
    resolution: str
    turn_id: str | None
    dispatch_status: DispatchStatus
    callback_thread_id: str | None
    callback_status: CallbackStatus
    callback_turn_id: str | None
    reply_text: str | None
    error_code: str | None
    error_message: str | None
    callback_error_code: str | None
    callback_error_message: str | None
    created_at: Time
    accepted_at: Time
    updated_at: Time
    callback_delivered_at: Time | None
    timing_ms: int | None
    warning: str | None
    attempt: int
    dispatch_lease_active: bool
    thread_lease_active: bool
    recovery_suggested: str | None
    state_path: str

    @classmethod
    def of(cls, standing: Standing, state_path: str) -> "DispatchOut":
        dispatch = standing.dispatch
        own = {name: getattr(dispatch, name) for name in cls.model_fields if name in Dispatch.model_fields}
        own["warning"] = " | ".join(filter(None, (dispatch.warning, standing.advice))) or None
        return cls(
            **own,
            dispatch_id=dispatch.id,
            dispatch_status=dispatch.status,
            dispatch_lease_active=standing.dispatch_lease_active,
            thread_lease_active=standing.thread_lease_active,
            recovery_suggested=standing.suggested,
            state_path=state_path,
        )


NOT_IN_STATUS = {"message", "timeout_sec", "callback_turn_id", "created_at", "callback_delivered_at", "attempt"}
NULLABLE_IN_STATUS = ("callbackThreadId", "turnId")


def status_json(standing: Standing, state_path: str) -> dict[str, Any]:
    """The short form that MCP answers: empty fields are left out, but for two that callers always look at."""
    shown = DispatchOut.of(standing, state_path).model_dump(by_alias=True, mode="json", exclude=NOT_IN_STATUS)
    shown["warning"] = standing.advice
    return {key: value for key, value in shown.items() if value is not None or key in NULLABLE_IN_STATUS}


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
