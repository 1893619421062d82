"""Approvals: how one is shown, and what an answer to one looks like."""

import json
from typing import Any, Literal

from pydantic import Field

from app.models import ApprovalKind, ApprovalStatus
from app.schemas.fields import Id, Time, Wire
from app.storage.approvals import Shown


class ApprovalIn(Wire):
    """What a human says to a question."""

    decision: Literal["approve", "deny"]
    digest: Id = Field(description="That of the question as it was shown: an answer to another one does not count.")
    answer: dict[str, Any] | None = Field(None, description="What is to be filled in, by the names of the fields.")


class ApprovalFilter(Wire):
    """Which approvals are asked for."""

    status: ApprovalStatus | None = None
    dispatch_id: Id | None = None

    def filters(self) -> dict[str, Any]:
        """As keyword arguments of `Approvals.page`."""
        return {"status": [self.status] if self.status else (), "dispatch_id": self.dispatch_id}


class ApprovalOut(Wire):
    """A question of Codex and what became of it. What a human filled in is not told."""

    approval_id: str
    dispatch_id: str
    project_id: str
    thread_id: str
    thread_name: str
    turn_id: str
    item_id: str
    kind: ApprovalKind
    asked: dict[str, Any]
    digest: str
    status: ApprovalStatus
    answered_by: str | None
    created_at: Time
    expires_at: Time
    answered_at: Time | None
    used_at: Time | None

    @classmethod
    def of(cls, shown: Shown) -> "ApprovalOut":
        approval = shown.approval
        own = approval.model_dump(include=cls.model_fields.keys() - {"asked"})
        return cls(
            **own,
            approval_id=approval.id,
            asked=json.loads(approval.asked),
            project_id=shown.project_id,
            thread_name=shown.thread_name,
        )
