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
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("Send the body as JSON with the header Content-Type: application/json")
    try:
        value = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise BadRequest("Request body must be valid JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("Request body must be a JSON object")
    return value


def integer(request: Request, name: str, default: int) -> int:
    """A query parameter as a whole number.

    Raises:
        BadRequest: it is something else.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"{name} must be a whole number", field=name) from None
