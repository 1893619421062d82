"""Reading a request's JSON, and query parameters that say what is wrong with them."""

import json
from typing import Any

from fastapi import Request

from app.errors import BadRequest, UnsupportedMediaType


async def json_object(request: Request) -> dict[str, Any]:
    """The body as an object.

    Raises:
        UnsupportedMediaType: the content type is not JSON. A page of another site can send everything else.
        BadRequest: the body is not a JSON object.
    """
    kind = header(request, "content-type") or ""
    if kind != "application/json" and kind.partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send the body as JSON with the header Content-Type: application/json")
    try:
        value = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise BadRequest("Request body must be valid JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("Request body must be a JSON object")
    return value


def header(request: Request, name: str) -> str | None:
    """The first header of a name in small letters, found without making an object of all headers."""
    sought = name.encode()
    return next((value.decode("latin-1") for key, value in request.scope["headers"] if key == sought), None)


def integer(request: Request, name: str, in_header: str | None = None) -> int | None:
    """A query parameter as a whole number, or a header of the same meaning; None where neither is there.

    Raises:
        BadRequest: it is something else.
    """
    text = (header(request, in_header) if in_header else None) or request.query_params.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"{name} must be a whole number", field=name) from None


def clamped(request: Request, name: str, default: int, most: int) -> int:
    """A query parameter as a whole number, brought into 1 to `most`.

    Raises:
        BadRequest: it is something else.
    """
    value = integer(request, name)
    return max(1, min(default if value is None else value, most))


def seconds(request: Request, name: str, most: float) -> float | None:
    """A query parameter as seconds from 0 to `most`; None where it is not there.

    Raises:
        BadRequest: it is something else.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise BadRequest(f"{name} must be a number of seconds from 0 to {most:g}", field=name)
    return value
