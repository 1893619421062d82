"""Dispatches: what a request for one looks like, and the forms in which one is shown."""

import json
from typing import Any

from pydantic import Field

from app.dispatch.recovery import Standing
from app.dispatch.remedies import Recovered
from app.models import LOCAL, CallbackStatus, Dispatch, DispatchRequest, DispatchStatus, Principal, TurnItem
from app.schemas.fields import Id, Name, Seconds, Text, Time, Wire, iso


class DispatchIn(Wire):
    """A request for a thread of a project."""

    project_id: Id = Field(description="From relay_list_projects.")
    message: Text
    thread_id: Id | None = Field(None, description="This thread exactly; never creates one.")
    thread_name: Name | None = Field(None, description="The thread of exactly this name.")
    query: Id | None = Field(None, description="Part of id, name or status of one thread.")
    create_if_missing: bool = Field(False, description="Make a thread if none matches.")
    timeout_sec: Seconds | None = None

    def request(self, caller_thread_id: str | None = None, principal: Principal = LOCAL) -> DispatchRequest:
        return DispatchRequest(
            **self.model_dump(),
            caller_thread_id=caller_thread_id,
            requested_by=principal.name or None,
            requested_badge=principal.badge,
        )


class DispatchAsyncIn(DispatchIn):
    """A request that is accepted now and worked on later."""

    callback_thread_id: Id | None = Field(None, description="Thread to tell how it ended.")
    callback_channel: Id | None = Field(None, description="Channel to post the reply to.")
    callback_url: Id | None = Field(None, description="URL to POST the end to, signed.")
    queue_if_busy: bool = Field(True, description="False: refuse if the thread has work.")
    idempotency_key: Id | None = Field(None, description="The same key is one dispatch: for safe retries.")


class DispatchFilter(Wire):
    """Which dispatches are asked for."""

    status: DispatchStatus | None = None
    project_id: Id | None = None
    thread_id: Id | None = None

    def filters(self) -> dict[str, Any]:
        """As keyword arguments of `Dispatches.page`."""
        return {"status": self.status, "project_id": self.project_id, "thread_id": self.thread_id}


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
            callback_requested=any((dispatch.callback_thread_id, dispatch.callback_channel, dispatch.callback_url)),
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
    waiting_for: str | None
    cancel_requested_at: Time | None
    diff: str | None
    usage: dict[str, int] | None
    requested_by: str | None
    requested_badge: str | None
    caller_thread_id: str | None
    caller_dispatch_id: str | None
    parent_id: str | None
    chain_id: str | None
    hops: int
    idempotency_key: str | None
    callback_thread_id: str | None
    callback_channel: str | None
    callback_url: str | None
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
        own["usage"] = json.loads(dispatch.usage) if dispatch.usage else None
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


class RecoveredOut(DispatchOut):
    """A dispatch after somebody helped it on."""

    recovery_action: str
    recovery_error: dict[str, Any] | None

    @classmethod
    def after(cls, recovered: Recovered, state_path: str) -> "RecoveredOut":
        shown = DispatchOut.of(recovered.standing, state_path)
        error = recovered.error.as_structured() if recovered.error else None
        return cls(**dict(shown), recovery_action=recovered.action, recovery_error=error)


class ItemOut(Wire):
    """One thing that a turn said or did. Long texts are cut in the middle."""

    item_id: str
    kind: str
    title: str
    text: str
    status: str
    updated_at: Time

    @classmethod
    def of(cls, item: TurnItem) -> "ItemOut":
        return cls(**{name: getattr(item, name) for name in cls.model_fields})


NOT_IN_STATUS = {
    "message",
    "timeout_sec",
    "callback_turn_id",
    "created_at",
    "callback_delivered_at",
    "attempt",
    "cancel_requested_at",
    "diff",
    "usage",
    "requested_by",
    "requested_badge",
    "caller_thread_id",
    "caller_dispatch_id",
    "parent_id",
    "chain_id",
    "hops",
    "idempotency_key",
    "callback_channel",
    "callback_url",
}
NULLABLE_IN_STATUS = ("callbackThreadId", "turnId")


def status_json(standing: Standing, state_path: str) -> dict[str, Any]:
    """The short form that MCP answers: empty fields are left out, but for two that callers always look at."""
    shown = DispatchOut.of(standing, state_path).model_dump(by_alias=True, mode="json", exclude=NOT_IN_STATUS)
    shown["warning"] = standing.advice
    return {key: value for key, value in shown.items() if value is not None or key in NULLABLE_IN_STATUS}


def recovered_json(recovered: Recovered, state_path: str) -> dict[str, Any]:
    """The short form after a recovery, with what was done, or what kept it from being done."""
    shown = {**status_json(recovered.standing, state_path), "recoveryAction": recovered.action}
    if recovered.error is not None:
        shown["recoveryError"] = recovered.error.as_structured()
    return shown


def brief_json(standing: Standing) -> dict[str, Any]:
    """A dispatch in a list for a model: what it is about in a line, without the texts."""
    dispatch = standing.dispatch
    shown = {
        "dispatchId": dispatch.id,
        "dispatchStatus": dispatch.status.value,
        "projectId": dispatch.project_id,
        "threadId": dispatch.thread_id,
        "threadName": dispatch.thread_name,
        "message": " ".join(dispatch.message[:400].split())[:200],
        "acceptedAt": iso(dispatch.accepted_at),
        "timingMs": dispatch.timing_ms,
        "errorCode": dispatch.error_code,
        "callbackStatus": dispatch.callback_status.value,
        "recoverySuggested": standing.suggested,
        "waitingFor": dispatch.waiting_for,
    }
    return {key: value for key, value in shown.items() if value is not None}
