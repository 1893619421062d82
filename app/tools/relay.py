"""Tools for Codex threads, with the seed's names, arguments, payloads and texts."""

from typing import Any

from pydantic import Field

from app.dispatch.service import ThreadOccupied
from app.dispatch.targets import ThreadRow
from app.hub import Hub
from app.models import Dispatch, DispatchRequest, Scope
from app.schemas import (
    AcceptedOut,
    DispatchAsyncIn,
    DispatchIn,
    Id,
    Name,
    Seconds,
    Text,
    Wire,
    iso,
    status_json,
)
from app.tools.chat import NothingIn
from app.tools.dispatches import status_lines
from app.tools.tool import Answer, Call, Tool


class ListThreadsIn(Wire):
    project_id: Id
    query: str = Field("", description="Part of id, name or status.")


class CreateThreadIn(Wire):
    project_id: Id
    name: Name | None = None


class SendWaitIn(Wire):
    thread_id: Id
    message: Text
    timeout_sec: Seconds | None = None


class RelayTools:
    """The relay tools of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._dispatches = hub.dispatches
        self._state = hub.dispatches.state_path
        self._most_wait_sec = hub.settings.mcp_max_wait_sec

    async def list_projects(self, _given: NothingIn, _: Call) -> Answer:
        projects = await self._dispatches.projects()
        lines = [f"Found {len(projects)} trusted project(s).", *(f"- {each.name}: {each.path}" for each in projects)]
        none = "No trusted Codex projects were found. Open a folder in Codex and trust it."
        return Answer({"projects": [each.as_json() for each in projects]}, "\n".join(lines) if projects else none)

    async def list_threads(self, given: ListThreadsIn, _: Call) -> Answer:
        project, rows = await self._dispatches.threads(given.project_id, given.query)
        threads = [_thread_json(row) for row in rows]
        lines = [f"Found {len(rows)} thread(s) in {project.name}."]
        lines += [
            f"- {row['name']} [{row['threadId']}] status={row['status']} "
            f"remembered={'yes' if row['remembered'] else 'no'} "
            f"lastActivityAt={row['lastActivityAt'] or 'unknown'} lastUsedAt={row['lastUsedAt'] or 'unknown'}"
            for row in threads
        ]
        none = f"No matching threads were found in {project.name}."
        payload = {"project": project.as_json(), "threads": threads, "statePath": self._state}
        return Answer(payload, "\n".join(lines) if rows else none)

    async def create_thread(self, given: CreateThreadIn, _: Call) -> Answer:
        made = await self._dispatches.create_thread(given.project_id, given.name)
        payload = {
            "threadId": made.thread_id,
            "name": made.thread_name,
            "threadName": made.thread_name,
            "projectId": made.project.project_id,
            "projectName": made.project.name,
            "created": True,
            "createdAt": iso(made.created_at),
            "lastUsedAt": iso(made.created_at),
            "lastTurnId": None,
            "statePath": self._state,
            "warning": made.warning,
        }
        lines = [f"Created thread {made.thread_id} in {made.project.name}.", f"Name: {made.thread_name}"]
        lines += [f"Relay state: {self._state}", *([f"Warning: {made.warning}"] if made.warning else [])]
        return Answer(payload, "\n".join(lines))

    async def send_wait(self, given: SendWaitIn, call: Call) -> Answer:
        request = DispatchRequest(
            **given.model_dump(),
            caller_thread_id=call.thread_id,
            requested_by=call.principal.name or None,
            requested_badge=call.principal.badge,
        )
        return await self._send(request, call)

    async def dispatch(self, given: DispatchIn, call: Call) -> Answer:
        return await self._send(given.request(call.thread_id, call.principal), call)

    async def dispatch_async(self, given: DispatchAsyncIn, call: Call) -> Answer:
        dispatch = await self._dispatches.submit(given.request(call.thread_id, call.principal))
        payload = AcceptedOut.of(dispatch, self._state).model_dump(by_alias=True, mode="json")
        lines = [
            f"Accepted async relay dispatch {dispatch.id}.",
            f"Target thread: {dispatch.thread_name} [{dispatch.thread_id}] ({dispatch.resolution}).",
            f"Callback requested: {'yes' if payload['callbackRequested'] else 'no'}.",
            f"Relay state: {self._state}",
        ]
        return Answer(payload, "\n".join(lines))

    async def _send(self, request: DispatchRequest, call: Call) -> Answer:
        asked = request.timeout_sec or self._hub.settings.turn_timeout_ms / 1000
        try:
            done = await self._dispatches.send(request, min(asked, self._most_wait_sec), call.tick)
        except ThreadOccupied as occupied:
            return await self._busy(occupied.active)
        payload = {
            "dispatchId": done.id,
            "projectId": done.project_id,
            "projectName": self._dispatches.project_name(done.project_id),
            "threadId": done.thread_id,
            "threadName": done.thread_name,
            "created": done.created,
            "resolution": done.resolution,
            "turnId": done.turn_id,
            "replyText": done.reply_text,
            "timingMs": done.timing_ms,
            "lastUsedAt": iso(done.finished_at),
            "statePath": self._state,
            "warning": done.warning,
        }
        text = f"Received reply from thread {done.thread_id} ({done.resolution}).\n{done.reply_text}"
        return Answer(payload, text)

    async def _busy(self, active: Dispatch) -> Answer:
        """No error: the caller learns what is in the way, and that nothing of its own was sent."""
        status = status_json(await self._dispatches.standing(active.id), self._state)
        payload = {**status, "busy": True, "newMessageDelivered": False}
        lines = [
            f"Target thread {active.thread_name} [{active.thread_id}] is still busy with relay dispatch {active.id}; "
            "the new message was not delivered.",
            *([f"Active turn: {active.turn_id}."] if active.turn_id else []),
            f"Dispatch {active.id}: {payload['dispatchStatus']}.",
            *status_lines(payload),
            f"Relay state: {self._state}",
        ]
        return Answer(payload, "\n".join(lines))


def tools(hub: Hub) -> list[Tool]:
    """The relay tools of a hub."""
    relay = RelayTools(hub)
    return [
        Tool(
            "relay_list_projects",
            "List the projects that Codex trusts; projectId is the path.",
            NothingIn,
            relay.list_projects,
            Scope.READ,
            read_only=True,
        ),
        Tool(
            "relay_list_threads",
            "List a project's Codex threads, newest first.",
            ListThreadsIn,
            relay.list_threads,
            Scope.READ,
            read_only=True,
        ),
        Tool(
            "relay_create_thread",
            "Make a Codex thread in a project.",
            CreateThreadIn,
            relay.create_thread,
            Scope.DISPATCH,
        ),
        Tool(
            "relay_send_wait",
            "Send a message to a Codex thread and wait for its reply. Look at busy and newMessageDelivered in the "
            "answer. After turn_timeout the turn goes on: ask relay_dispatch_status for recoveryDispatchId.",
            SendWaitIn,
            relay.send_wait,
            Scope.DISPATCH,
            waits=True,
        ),
        Tool(
            "relay_dispatch",
            "Like relay_send_wait, to a thread found by id, exact name or query, in this order, or made if missing.",
            DispatchIn,
            relay.dispatch,
            Scope.DISPATCH,
            waits=True,
        ),
        Tool(
            "relay_dispatch_async",
            "Like relay_dispatch, but returns at once with a dispatchId; the work queues for its thread. Best for "
            "anything long. Its end is told to a Codex thread, a channel or a URL, if you name one.",
            DispatchAsyncIn,
            relay.dispatch_async,
            Scope.DISPATCH,
        ),
    ]


def _thread_json(row: ThreadRow) -> dict[str, Any]:
    known = row.remembered
    return {
        "threadId": row.thread_id,
        "name": row.name,
        "status": row.status,
        "lastActivityAt": iso(row.last_activity_at),
        "projectId": row.project_id,
        "cwd": row.cwd,
        "remembered": known is not None,
        "createdAt": iso(known.created_at) if known else None,
        "lastUsedAt": iso(known.last_used_at) if known else None,
        "lastTurnId": known.last_turn_id if known else None,
    }
