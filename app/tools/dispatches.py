"""Tools for dispatches that exist: look at them, stop them, tell their end again, help them on."""

from typing import Any

from pydantic import Field

from app.hub import Hub
from app.models import DispatchStatus, Scope
from app.schemas import DispatchFilter, Id, Wire, brief_json, recovered_json, status_json
from app.tools.tool import Answer, Call, Tool


class StatusIn(Wire):
    dispatch_id: Id


class DeliverIn(Wire):
    dispatch_id: Id
    callback_thread_id: Id | None = Field(None, description="Tell this thread, now and later.")


class RecoverIn(Wire):
    dispatch_id: Id | None = Field(None, description="This one; without it, all that nobody works on.")
    project_id: Id | None = None
    callback_thread_id: Id | None = None
    limit: int = Field(20, ge=1, le=20)


class ListDispatchesIn(DispatchFilter):
    limit: int = Field(20, ge=1, le=50)
    cursor: int | None = Field(None, description="nextCursor of the page before.")


class DispatchTools:
    """The tools for a hub's dispatches."""

    def __init__(self, hub: Hub) -> None:
        self._dispatches = hub.dispatches
        self._state = hub.dispatches.state_path
        self._most_wait_sec = hub.settings.mcp_max_wait_sec

    async def status(self, given: StatusIn, _: Call) -> Answer:
        payload = status_json(await self._dispatches.standing(given.dispatch_id), self._state)
        lines = [
            f"Dispatch {payload['dispatchId']}: {payload['dispatchStatus']}.",
            f"Callback: {payload['callbackStatus']}.",
            f"Target thread: {payload['threadName']} [{payload['threadId']}].",
            *status_lines(payload),
        ]
        return Answer(payload, "\n".join(lines))

    async def deliver(self, given: DeliverIn, call: Call) -> Answer:
        standing = await self._dispatches.deliver(
            given.dispatch_id, given.callback_thread_id, self._most_wait_sec, call.tick
        )
        payload = status_json(standing, self._state)
        if standing.dispatch.status in (DispatchStatus.QUEUED, DispatchStatus.RUNNING) and given.callback_thread_id:
            payload["callbackThreadId"] = given.callback_thread_id
        thread = payload["callbackThreadId"]
        lines = [
            f"Dispatch {payload['dispatchId']} callback status: {payload['callbackStatus']}.",
            f"Callback thread: {thread}." if thread else "Callback thread: not requested.",
            *_outcome_lines(payload, "Dispatch error"),
        ]
        return Answer(payload, "\n".join(lines))

    async def recover(self, given: RecoverIn, call: Call) -> Answer:
        if given.dispatch_id is not None:
            done = await self._dispatches.recover(
                given.dispatch_id, given.callback_thread_id, self._most_wait_sec, call.tick
            )
            payload = recovered_json(done, self._state)
            lines = [
                f"Dispatch {payload['dispatchId']} recovery action: {done.action}.",
                f"Dispatch status: {payload['dispatchStatus']}.",
                f"Callback: {payload['callbackStatus']}.",
                *_outcome_lines(payload, "Error"),
                *([f"Warning: {payload['warning']}"] if payload.get("warning") else []),
            ]
            return Answer(payload, "\n".join(lines))
        recovered, scanned = await self._dispatches.recover_all(
            given.project_id, given.callback_thread_id, given.limit, self._most_wait_sec, call.tick
        )
        rows = [recovered_json(each, self._state) for each in recovered]
        payload = {
            "projectId": given.project_id,
            "recovered": rows,
            "scannedCount": scanned,
            "recoveredCount": len(rows),
            "statePath": self._state,
        }
        lines = [
            f"Recovered {len(rows)} dispatch(es) from {scanned} scanned.",
            *([f"Project: {given.project_id}"] if given.project_id else []),
            *(
                f"- {row['dispatchId']}: {row['recoveryAction']} -> {row['dispatchStatus']} / {row['callbackStatus']}"
                for row in rows
            ),
            f"Relay state: {self._state}",
        ]
        return Answer(payload, "\n".join(lines))

    async def cancel(self, given: StatusIn, _: Call) -> Answer:
        dispatch = await self._dispatches.cancel(given.dispatch_id)
        payload = status_json(await self._dispatches.standing(dispatch.id), self._state)
        lines = [f"Dispatch {dispatch.id}: {dispatch.status}."]
        if dispatch.finished_at is None:
            lines.append("It is to be stopped, but its turn has not ended yet; ask relay_dispatch_status.")
        return Answer(payload, "\n".join(lines))

    async def list_dispatches(self, given: ListDispatchesIn, _: Call) -> Answer:
        rows = await self._dispatches.page(given.limit + 1, given.cursor, **given.filters())
        shown = rows[: given.limit]
        found = [brief_json(each) for each in shown]
        payload: dict[str, Any] = {"dispatches": found, "hasMore": len(rows) > given.limit}
        if payload["hasMore"]:
            payload["nextCursor"] = shown[-1].dispatch.seq
        lines = [f"{len(found)} dispatch(es)."]
        lines += [
            f"- {row['dispatchId']}: {row['dispatchStatus']}, {row['threadName']}, {row['acceptedAt']}" for row in found
        ]
        return Answer(payload, "\n".join(lines))


def tools(hub: Hub) -> list[Tool]:
    """The tools for a hub's dispatches."""
    relay = DispatchTools(hub)
    return [
        Tool(
            "relay_dispatch_status",
            "How a dispatch stands, and its reply.",
            StatusIn,
            relay.status,
            Scope.READ,
            read_only=True,
        ),
        Tool(
            "relay_list_dispatches",
            "List dispatches, newest first.",
            ListDispatchesIn,
            relay.list_dispatches,
            Scope.READ,
            read_only=True,
        ),
        Tool(
            "relay_dispatch_cancel",
            "Stop a dispatch; a turn that runs is interrupted.",
            StatusIn,
            relay.cancel,
            Scope.DISPATCH,
        ),
        Tool(
            "relay_dispatch_deliver",
            "Tell the end of a dispatch to its callback thread once more.",
            DeliverIn,
            relay.deliver,
            Scope.DISPATCH,
            waits=True,
        ),
        Tool(
            "relay_dispatch_recover",
            "Do what recoverySuggested says and wait for it. rerun_turn sends the message again, only here.",
            RecoverIn,
            relay.recover,
            Scope.DISPATCH,
            waits=True,
        ),
    ]


def status_lines(payload: dict[str, Any]) -> list[str]:
    """What else a status says, a line each."""
    error = f"[{payload.get('errorCode')}] {payload.get('errorMessage')}" if payload.get("errorCode") else None
    labelled = {
        "Recovery": payload.get("recoverySuggested"),
        "Reply": payload.get("replyText"),
        "Error": error,
        "Warning": payload.get("warning"),
    }
    return [f"{label}: {value}" for label, value in labelled.items() if value]


def _outcome_lines(payload: dict[str, Any], label: str) -> list[str]:
    errors = (("errorCode", "errorMessage", label), ("callbackErrorCode", "callbackErrorMessage", "Callback error"))
    reply = [f"Reply: {payload['replyText']}"] if payload.get("replyText") else []
    return reply + [
        f"{name}: [{payload[code]}] {payload.get(text)}" for code, text, name in errors if payload.get(code)
    ]
