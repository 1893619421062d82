"""The pages of what Codex asks: the list, one question with its form, and the buttons that answer."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.dispatch import asked, forms
from app.errors import ApprovalSettled, BadRequest
from app.hub import Hub
from app.models import ApprovalStatus
from app.storage.approvals import Shown
from app.ui.addresses import dispatch_url
from app.ui.render import Renderer

RECENT_ANSWERED = 30
PATH = "/approvals"


async def listed(hub: Hub) -> list[Shown]:
    """What waits, oldest first, and the last ones that were answered, newest first."""
    approvals = hub.dispatches.approvals
    over = [status for status in ApprovalStatus if status is not ApprovalStatus.PENDING]
    return [*await approvals.waiting(), *await approvals.page(RECENT_ANSWERED, status=over)]


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(prefix=PATH)
    approvals = hub.dispatches.approvals

    @router.get("")
    async def index(request: Request) -> HTMLResponse:
        rows = await listed(hub)
        return renderer.page(request, "approvals/index.html", approvals=[await renderer.approval(row) for row in rows])

    async def one(request: Request, shown: Shown, given: Any = None, refused: BadRequest | None = None) -> HTMLResponse:
        return renderer.page(
            request,
            "approvals/show.html",
            refused.http_status if refused else 200,
            shown=shown,
            approval=await renderer.approval(shown),
            fields=asked.fields(shown.approval) if shown.approval.status is ApprovalStatus.PENDING else [],
            given=given or {},
            error=refused,
        )

    @router.get("/{approval_id}")
    async def show(request: Request, approval_id: str) -> HTMLResponse:
        return await one(request, await approvals.get(approval_id))

    async def answered(request: Request, approval_id: str, approve: bool, answer: Any = None) -> Any:
        digest = request.query_params.get("digest", "")
        try:
            shown = await approvals.answer(approval_id, approve, digest, request.scope["principal"], answer)
        except ApprovalSettled as error:
            back = (f"{PATH}/{approval_id}", "Look at it again")
            return renderer.error(request, error.http_status, "That did not count", error.message, back)
        came_from = request.headers.get("referer", "").partition("?")[0]
        back_to_list = came_from.endswith(PATH)
        return RedirectResponse(PATH if back_to_list else dispatch_url(shown.approval.dispatch_id), 303)

    @router.post("/{approval_id}/approve")
    async def approve(request: Request, approval_id: str) -> Any:
        shown = await approvals.get(approval_id)
        sent = await request.form()
        texts = {name: [text for text in sent.getlist(name) if isinstance(text, str)] for name in sent}
        given = forms.from_texts(asked.fields(shown.approval), texts)
        try:
            return await answered(request, approval_id, True, given or None)
        except BadRequest as error:
            return await one(request, shown, given, error)

    @router.post("/{approval_id}/deny")
    async def deny(request: Request, approval_id: str) -> Any:
        return await answered(request, approval_id, False)

    return router
