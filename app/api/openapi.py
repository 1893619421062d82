"""What the OpenAPI document says of routes that read their own requests."""

from typing import Any

from pydantic import BaseModel


class Error(BaseModel):
    """Every error of the API."""

    ok: bool = False
    error: str
    code: str
    details: dict[str, Any]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route; every route can refuse a host, an origin, a caller, or too many calls."""
    return {status: {"model": Error} for status in (*statuses, 401, 403, 421, 429)}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def query(name: str, kind: str, description: str, default: Any = None, required: bool = False) -> dict[str, Any]:
    schema = {"type": kind} if default is None else {"type": kind, "default": default}
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}
