"""Codex's own queue: where a message waits for the Codex that has the thread open, if the setting wants that."""

import asyncio
import contextlib
import logging

from app.codex.client import CodexClient
from app.codex.watch import Watch
from app.dispatch.envelopes import delegated
from app.dispatch.policy import Policies
from app.dispatch.recovery import Action, Verdict, Writer
from app.errors import AppServerUnavailable, HubError, InternalError, NoAnswer, ThreadHeld
from app.models import Dispatch, Lease, Origin
from app.settings import Settings
from app.storage import leases
from app.storage.database import Database

BEGIN_SEC = 15.0
"""In which Codex begins with what waits in its queue."""
IN_QUEUE = "its message lies in the queue of the Codex that has the thread open"

logger = logging.getLogger("relay_hub.dispatch")


class CodexQueue:
    """Leaves messages in the queues of threads, and finds out what became of them."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._policies = Policies(settings)
        self._database = database

    def takes(self, dispatch: Dispatch, error: HubError) -> bool:
        """Whether a dispatch that met this error is to be left to the Codex in the way."""
        wanted = self._settings.codex_when_held == "queue" and dispatch.origin is not Origin.WAIT
        return wanted and isinstance(error, ThreadHeld)

    async def put(self, client: CodexClient, dispatch: Dispatch, lease: Lease) -> bool:
        """Leave the message there; False where this Codex has no such queue."""
        text = delegated(dispatch, self._settings.envelope)
        # Noted first: after a crash the queue is asked whether the message is in it.
        await self._database.write(leases.record_queued, lease)
        try:
            await client.queue_message(dispatch.thread_id, text, lease.client_message_id)
        except (AppServerUnavailable, NoAnswer) as error:
            logger.info("dispatch %s may lie in the queue of Codex: %s", dispatch.id, error.message)
        except InternalError:
            return False
        return True

    async def entry(self, client: CodexClient, dispatch: Dispatch) -> str | None:
        """The queue's id of the message, as long as it waits there."""
        waiting = await client.queued(dispatch.thread_id)
        ours = (entry for message_id, entry in waiting.items() if message_id.startswith(f"{dispatch.id}/"))
        return next(ours, None)

    async def judge(
        self, client: CodexClient, dispatch: Dispatch, watch: Watch, entry_id: str
    ) -> tuple[Verdict, Writer]:
        """What becomes of a message that waits."""
        if dispatch.cancel_requested_at is not None and await client.unqueue(dispatch.thread_id, entry_id):
            return Verdict(Action.SEND), Writer.ELSEWHERE
        try:
            await client.resume(dispatch.thread_id, self._policies.of(dispatch.project_id).limits)
        except ThreadHeld:
            return Verdict(Action.WAIT), Writer.ELSEWHERE
        # Nobody has the thread open any more. Codex may begin with its queue now, or not: after a turn that was cut
        # off it does not. So the message is taken back, and sent as every other one, unless it has begun already.
        if await client.unqueue(dispatch.thread_id, entry_id):
            return Verdict(Action.SEND), Writer.HERE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_SEC):
                async for notification in watch:
                    item = notification.params.get("item")
                    if isinstance(item, dict) and str(item.get("clientId")).startswith(f"{dispatch.id}/"):
                        return Verdict(Action.FOLLOW, notification.params.get("turnId")), Writer.HERE
        return Verdict(Action.WAIT), Writer.HERE
