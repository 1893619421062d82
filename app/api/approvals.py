"""`/api/approvals`: what Codex asks while turns run, and the answers of people."""

from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from app.api.body import clamped, json_object
from app.api.openapi import errors, json_body, query
from app.errors import BadRequest
from app.hub import Hub
from app.models import ApprovalStatus
from app.schemas import Wire, explain
from app.schemas.approvals import ApprovalFilter, ApprovalIn, ApprovalOut

MOST = 200
FILTERS = ("status", "dispatchId")

WireT = TypeVar("WireT", bound=Wire)


class ApprovalsOut(Wire):
    approvals: list[ApprovalOut]
    next_cursor: str | None


def routes(hub: Hub) -> APIRouter:
    router = APIRouter(prefix="/api/approvals", tags=["approvals"])
    approvals = hub.dispatches.approvals

    @router.get(
        "",
        summary="What Codex asks and has asked, newest first",
        responses={200: {"model": ApprovalsOut}, **errors(400)},
        openapi_extra={
            "parameters": [
                query("status", "string", f"One of {', '.join(ApprovalStatus)}."),
                query("dispatchId", "string", "Only of this dispatch."),
                query("limit", "integer", f"How many, clamped to 1 to {MOST}.", 50),
                query("cursor", "string", "nextCursor of the page before."),
            ]
        },
    )
    async def index(request: Request) -> JSONResponse:
        limit = clamped(request, "limit", 50, MOST)
        wanted = {name: request.query_params[name] for name in FILTERS if name in request.query_params}
        cursor = request.query_params.get("cursor")
        if cursor is not None and "\0" in cursor:
            raise BadRequest("cursor must be the nextCursor of an earlier answer", field="cursor")
        rows = await approvals.page(limit + 1, cursor, **_valid(ApprovalFilter, wanted).filters())
        page = ApprovalsOut(
            approvals=[ApprovalOut.of(row) for row in rows[:limit]],
            next_cursor=rows[limit - 1].approval.id if len(rows) > limit else None,
        )
        return JSONResponse(_json(page))

    @router.get(
        "/{approvalId}",
        summary="One question, and what became of it",
        responses={200: {"model": ApprovalOut}, **errors(404)},
    )
    async def show(approvalId: str) -> JSONResponse:  # noqa: N803 - the path parameter's public name
        return JSONResponse(_json(ApprovalOut.of(await approvals.get(approvalId))))

    @router.post(
        "/{approvalId}",
        summary="Approve or deny what is asked; for people with the scope approve",
        responses={200: {"model": ApprovalOut}, **errors(400, 404, 409, 415)},
        openapi_extra=json_body(ApprovalIn),
    )
    async def answer(request: Request, approvalId: str) -> JSONResponse:  # noqa: N803
        given = _valid(ApprovalIn, await json_object(request))
        answered = await approvals.answer(
            approvalId, given.decision == "approve", given.digest, request.scope["principal"], given.answer
        )
        return JSONResponse(_json(ApprovalOut.of(answered)))

    return router


def _valid(shape: type[WireT], given: dict[str, Any]) -> WireT:
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        raise explain(error) from None


def _json(shape: Wire) -> dict[str, Any]:
    return shape.model_dump(by_alias=True, mode="json")
