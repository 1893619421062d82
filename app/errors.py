"""Every error that the hub tells somebody about.

    HubError
    ├── BadRequest              400   the input is wrong; `field` names what to fix
    │   ├── UnsupportedMediaType    415
    │   ├── PayloadTooLarge         413
    │   └── CsrfFailed              403
    ├── Unauthenticated         401
    ├── Forbidden               403
    ├── RateLimited             429   retryable
    ├── NotFound                404
    │   ├── ApprovalNotFound
    │   ├── DispatchNotFound
    │   └── ThreadNotFound
    ├── ApprovalSettled         409
    ├── LoopGuard               429
    ├── ProjectUntrusted        403
    ├── TargetAmbiguous         409
    ├── CallbackTargetInvalid   400
    ├── TargetBusy              409   retryable
    │   └── ThreadHeld
    ├── TurnTimeout             504   retryable
    ├── TargetTurnFailed        502
    │   └── TurnInterrupted
    ├── ReplyMissing            502
    ├── IdempotencyConflict     409
    ├── DispatchCancelled       409
    ├── NestedSendRefused       409
    ├── AppServerUnavailable    503   retryable
    ├── DatabaseUnavailable     503   retryable
    ├── HubStopping             503   retryable
    └── InternalError           500
        └── NoAnswer            retryable

The hub raises these and nothing else on purpose. Each door turns them into its own form: HTTP through
`as_json`, MCP through `as_structured`.
"""

from enum import StrEnum
from typing import Any, ClassVar


class ErrorCode(StrEnum):
    """Stable names of errors: callers branch on these, never on the text."""

    BAD_REQUEST = "bad_request"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    HOST_NOT_ALLOWED = "host_not_allowed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    CSRF_FAILED = "csrf_failed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    PROJECT_UNTRUSTED = "project_untrusted"
    THREAD_NOT_FOUND = "thread_not_found"
    TARGET_AMBIGUOUS = "target_ambiguous"
    DISPATCH_NOT_FOUND = "dispatch_not_found"
    CALLBACK_TARGET_INVALID = "callback_target_invalid"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    APPROVAL_NOT_FOUND = "approval_not_found"
    APPROVAL_SETTLED = "approval_settled"
    LOOP_GUARD = "loop_guard"
    DISPATCH_CANCELLED = "dispatch_cancelled"
    NESTED_SEND_REFUSED = "nested_send_refused"
    TARGET_BUSY = "target_busy"
    TURN_TIMEOUT = "turn_timeout"
    TURN_INTERRUPTED = "turn_interrupted"
    APP_SERVER_UNAVAILABLE = "app_server_unavailable"
    DATABASE_UNAVAILABLE = "database_unavailable"
    HUB_STOPPING = "hub_stopping"
    REPLY_MISSING = "reply_missing"
    TARGET_TURN_FAILED = "target_turn_failed"
    INTERNAL_ERROR = "internal_error"


class HubError(Exception):
    """An error with a stable code, a sentence that says what to do, and details as data."""

    code: ClassVar[ErrorCode] = ErrorCode.INTERNAL_ERROR
    http_status: ClassVar[int] = 500
    rpc_code: ClassVar[int] = -32603
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def as_json(self) -> dict[str, Any]:
        """The body of every HTTP error: the seeds' `ok` and `error`, plus `code` and `details`."""
        return error_body(self.code, self.message, self.details)

    def as_structured(self) -> dict[str, Any]:
        """The structured content of an MCP tool error."""
        return {
            "relayCode": self.code.value,
            "rpcCode": self.rpc_code,
            "message": self.message,
            "retryable": self.retryable,
            **self.details,
        }


def error_body(code: ErrorCode, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """The one JSON shape of an error."""
    return {"ok": False, "error": message, "code": code.value, "details": details or {}}


class CannotStart(Exception):
    """The hub cannot start; the text says why and what to do. Printed, never sent to a client."""


class BadRequest(HubError):
    code = ErrorCode.BAD_REQUEST
    http_status = 400
    rpc_code = -32602


class UnsupportedMediaType(BadRequest):
    code = ErrorCode.UNSUPPORTED_MEDIA_TYPE
    http_status = 415


class PayloadTooLarge(BadRequest):
    code = ErrorCode.PAYLOAD_TOO_LARGE
    http_status = 413


class CsrfFailed(BadRequest):
    code = ErrorCode.CSRF_FAILED
    http_status = 403


class Unauthenticated(HubError):
    code = ErrorCode.UNAUTHENTICATED
    http_status = 401
    rpc_code = -32600


class Forbidden(HubError):
    code = ErrorCode.FORBIDDEN
    http_status = 403
    rpc_code = -32600


class RateLimited(HubError):
    code = ErrorCode.RATE_LIMITED
    http_status = 429
    rpc_code = -32600
    retryable = True


class NotFound(HubError):
    code = ErrorCode.NOT_FOUND
    http_status = 404
    rpc_code = -32602


class DispatchNotFound(NotFound):
    code = ErrorCode.DISPATCH_NOT_FOUND


class ThreadNotFound(NotFound):
    code = ErrorCode.THREAD_NOT_FOUND


class ApprovalNotFound(NotFound):
    code = ErrorCode.APPROVAL_NOT_FOUND


class ApprovalSettled(HubError):
    code = ErrorCode.APPROVAL_SETTLED
    http_status = 409
    rpc_code = -32600


class LoopGuard(HubError):
    code = ErrorCode.LOOP_GUARD
    http_status = 429
    rpc_code = -32600


class ProjectUntrusted(HubError):
    code = ErrorCode.PROJECT_UNTRUSTED
    http_status = 403
    rpc_code = -32602


class TargetAmbiguous(HubError):
    code = ErrorCode.TARGET_AMBIGUOUS
    http_status = 409
    rpc_code = -32602


class CallbackTargetInvalid(HubError):
    code = ErrorCode.CALLBACK_TARGET_INVALID
    http_status = 400
    rpc_code = -32602


class IdempotencyConflict(HubError):
    code = ErrorCode.IDEMPOTENCY_CONFLICT
    http_status = 409
    rpc_code = -32602


class DispatchCancelled(HubError):
    code = ErrorCode.DISPATCH_CANCELLED
    http_status = 409
    rpc_code = -32600


class NestedSendRefused(HubError):
    code = ErrorCode.NESTED_SEND_REFUSED
    http_status = 409
    rpc_code = -32600


class TargetBusy(HubError):
    code = ErrorCode.TARGET_BUSY
    http_status = 409
    rpc_code = -32600
    retryable = True


class ThreadHeld(TargetBusy):
    """Another Codex has the thread open."""


class TurnTimeout(HubError):
    code = ErrorCode.TURN_TIMEOUT
    http_status = 504
    rpc_code = -32001
    retryable = True


class TargetTurnFailed(HubError):
    code = ErrorCode.TARGET_TURN_FAILED
    http_status = 502


class TurnInterrupted(TargetTurnFailed):
    code = ErrorCode.TURN_INTERRUPTED


class ReplyMissing(HubError):
    code = ErrorCode.REPLY_MISSING
    http_status = 502


class AppServerUnavailable(HubError):
    code = ErrorCode.APP_SERVER_UNAVAILABLE
    http_status = 503
    retryable = True


class DatabaseUnavailable(HubError):
    code = ErrorCode.DATABASE_UNAVAILABLE
    http_status = 503
    retryable = True


class HubStopping(HubError):
    code = ErrorCode.HUB_STOPPING
    http_status = 503
    retryable = True


class InternalError(HubError):
    def __init__(self, message: str = "The hub failed on this request; its log says why.", **details: Any) -> None:
        super().__init__(message, **details)


class NoAnswer(InternalError):
    """Codex did not answer a request in time; what became of the request is not known."""

    retryable = True


def from_code(code: str | None, message: str | None, **details: Any) -> HubError:
    """The error that a dispatch recorded, as an error again."""
    kinds = {kind.code.value: kind for kind in _descendants(HubError) if "code" in vars(kind)}
    return kinds.get(code or "", InternalError)(message or "The dispatch failed without a reason.", **details)


def _descendants(kind: type[HubError]) -> list[type[HubError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _descendants(child))]
