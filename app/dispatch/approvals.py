"""What Codex asks while a turn runs, answered by a human, by a rule of the settings, or by nobody, which is a no.

A question becomes a row, and the row is what is answered: over any door of any hub on the database. Who asked Codex
waits for the row and takes its answer once.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.bus import Bus, BusClosed
from app.codex.jsonrpc import NoReply
from app.codex.questions import Question, decline
from app.dispatch import asked as questions
from app.dispatch.forms import UnknownForm
from app.dispatch.policy import Policies
from app.errors import ApprovalNotFound, ApprovalSettled, Forbidden, HubError
from app.logs import Logs
from app.models import Approval, ApprovalStatus, Dispatch, Kind, Principal, Scope, Topic
from app.settings import Settings
from app.storage import approvals
from app.storage.approvals import Outlook, Shown
from app.storage.database import Database
from app.storage.dispatches import running_in

LOOK_SEC = 1.0
"""While something waits: a hint may be lost."""
IDLE_SEC = 30.0
TROUBLE_PAUSE_SEC = 1.0
BEGIN_SEC = 5.0
BEGIN_LOOK_SEC = 0.02
PENDING = "approvals:pending"
"""A topic on the bus: how many questions wait has changed, and is known."""
OWNER_NAME = "owner"
"""Who answered, where nobody has to say who they are."""

logger = logging.getLogger("relay_hub.approvals")


class Approvals:
    """Takes questions from Codex and answers from humans."""

    def __init__(self, settings: Settings, database: Database, bus: Bus, logs: Logs) -> None:
        self._settings = settings
        self._database = database
        self._bus = bus
        self._logs = logs
        self._home = str(settings.codex_home)
        self._policies = Policies(settings)
        self._waiting: dict[str, asyncio.Future[Approval]] = {}
        self.pending = 0
        """How many questions wait, as known a moment ago."""
        self.in_danger = self._policies.in_danger
        """Projects whose turns run without a sandbox."""

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Watch for answers and for the end of their time until the block ends."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def ask(self, question: Question) -> dict[str, Any]:
        """The answer for Codex. It may take until `approval_timeout_sec` is over.

        Raises:
            NoReply: Codex waits no more.
            RpcError: the question is unknown; Codex takes that for a no.
        """
        try:
            approval = await self._row(question)
            if approval.status is ApprovalStatus.PENDING:
                approval = await self._settled(approval, question)
            is_answered = approval.status in (ApprovalStatus.APPROVED, ApprovalStatus.DENIED)
            # Written down first: an answer counts once, also when we are killed before Codex has it.
            if is_answered and not await self._database.write(approvals.use, approval.id, questions.kept(approval)):
                return await decline(question)
            return questions.result(approval)
        except UnknownForm as unknown:
            logger.warning("declined %s of thread %s: %s", question.method, question.thread_id, unknown)
        except HubError as error:
            logger.warning("declined %s of thread %s: %s", question.method, question.thread_id, error.message)
        return await decline(question)

    async def answer(
        self, approval_id: str, approve: bool, digest: str, principal: Principal, answer: Any = None
    ) -> Shown:
        """Write down what a human says to a question, which `digest` names as it was shown.

        Raises:
            Forbidden: this is for humans with the scope `approve`.
            ApprovalNotFound.
            ApprovalSettled: nobody waits for it any more, or something else is asked.
            BadRequest: what was filled in does not fit.
        """
        principal.require(Scope.APPROVE)
        if principal.kind is not Kind.HUMAN:
            raise Forbidden("Only people approve what Codex asks.", scope=Scope.APPROVE.value)
        approval = (await self.get(approval_id)).approval
        if approval.status is not ApprovalStatus.PENDING:
            raise _settled(approval, digest)
        fields = questions.filled(approval, answer) if approve else {}
        status = ApprovalStatus.APPROVED if approve else ApprovalStatus.DENIED
        text = json.dumps(fields) if fields else None
        by = principal.name or OWNER_NAME
        if not await self._database.write(approvals.settle, approval_id, digest, status, by, text):
            raise _settled((await self.get(approval_id)).approval, digest)
        shown = await self.get(approval_id)
        self._answered(shown.approval)
        await self._look()
        return shown

    async def get(self, approval_id: str) -> Shown:
        """
        Raises:
            ApprovalNotFound: there is none of this id.
        """
        found = None if "\0" in approval_id else await self._database.read(approvals.get, approval_id)
        if found is None:
            raise ApprovalNotFound(f"There is no approval {approval_id}", approvalId=approval_id)
        return found

    async def waiting(self, dispatch_id: str | None = None) -> list[Shown]:
        """Questions that wait, oldest first; of one dispatch or of all."""
        return await self._database.read(approvals.pending, dispatch_id)

    async def page(self, limit: int, before: str | None = None, **filters: Any) -> list[Shown]:
        """Approvals, newest first; `before` is the id of the last one seen, `filters` those of the storage."""
        return await self._database.read(approvals.page, limit, before, **filters)

    async def _row(self, question: Question) -> Approval:
        """The row of a question, new or as it was before.

        Raises:
            UnknownForm: it is none that a human could answer.
        """
        running = await self._running(question)
        policy = self._policies.of(running.project_id)
        if policy.limits.approval == "never":
            raise UnknownForm("by the settings nobody is asked")
        asked = questions.read(question)
        now = time.time()
        approval = Approval(
            home=self._home,
            dispatch_id=running.id,
            thread_id=question.thread_id,
            turn_id=running.turn_id or "",
            item_id=question.item_id,
            request_id=json.dumps(question.id),
            kind=asked.kind,
            asked=asked.text,
            digest=asked.digest,
            created_at=now,
            expires_at=now + self._settings.approval_timeout_sec,
        )
        if asked.command is not None and (policy.allow or policy.deny):
            # Long commands take long to take apart.
            ruling = await asyncio.to_thread(policy.ruling, asked.command, asked.folder, asked.is_plain_command)
            if ruling is not None:
                approval.status = ApprovalStatus.APPROVED if ruling.is_allowed else ApprovalStatus.DENIED
                approval.answered_by, approval.answered_at = f"rule: {ruling.rule}", now
        stored = await self._database.write(approvals.ask, approval)
        if stored is None:
            raise UnknownForm("its dispatch has ended")
        if stored.id == approval.id:
            self._logs.activity("approval_asked", id=stored.id, dispatch=stored.dispatch_id, kind=stored.kind.value)
            if stored.status is not ApprovalStatus.PENDING:
                self._answered(stored)
        return stored

    async def _running(self, question: Question) -> Dispatch:
        """The dispatch whose turn asks.

        Raises:
            UnknownForm: there is none.
        """
        deadline = time.monotonic() + BEGIN_SEC
        while running := await self._database.read(running_in, self._home, question.thread_id):
            if running.turn_id is None and time.monotonic() < deadline:
                # It asks so early that the turn is not written down yet.
                await asyncio.sleep(BEGIN_LOOK_SEC)
                continue
            if running.turn_id is None or question.turn_id not in ("", running.turn_id):
                break
            return running
        raise UnknownForm("no dispatch of this hub runs there")

    async def _settled(self, approval: Approval, question: Question) -> Approval:
        """The approval once it waits no more.

        Raises:
            NoReply: Codex has settled the question itself.
        """
        settled: asyncio.Future[Approval] = asyncio.get_running_loop().create_future()
        self._waiting[approval.id] = settled
        resolved = asyncio.create_task(question.resolved.wait())
        either: set[asyncio.Future[Any]] = {settled, resolved}
        self._bus.publish([Topic.APPROVALS])
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            resolved.cancel()
            if self._waiting.get(approval.id) is settled:
                del self._waiting[approval.id]
        if settled.done():
            return settled.result()
        for ended in await self._database.write(approvals.withdraw, approval.dispatch_id, approval.id):
            self._answered(ended)
        raise NoReply

    async def _watch(self) -> None:
        with self._bus.subscribe(Topic.APPROVALS) as hints:
            while True:
                try:
                    ahead = await self._look()
                    pause = LOOK_SEC if self._waiting else IDLE_SEC
                    soon = pause if ahead.next_at is None else ahead.next_at - time.time()
                    await hints.wait(max(0.0, min(pause, soon)))
                except BusClosed:
                    return
                except Exception:
                    logger.exception("looking for answers failed, trying again")
                    await asyncio.sleep(TROUBLE_PAUSE_SEC)

    async def _look(self) -> Outlook:
        """Pass on what was answered, and end what nobody has answered in time."""
        ahead = await self._database.read(approvals.outlook, list(self._waiting))
        if ahead.next_at is not None and ahead.next_at <= time.time():
            for ended in await self._database.write(approvals.expire):
                self._answered(ended)
            ahead = await self._database.read(approvals.outlook, list(self._waiting))
        if ahead.pending != self.pending:
            self.pending = ahead.pending
            self._bus.publish([PENDING])
        for approval in ahead.settled:
            waiting = self._waiting.get(approval.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(approval)
                if approval.status is ApprovalStatus.WITHDRAWN:
                    self._answered(approval)
        return ahead

    def _answered(self, approval: Approval) -> None:
        self._logs.activity(
            "approval_answered",
            id=approval.id,
            dispatch=approval.dispatch_id,
            status=approval.status.value,
            by=approval.answered_by,
        )


def _settled(approval: Approval, digest: str) -> ApprovalSettled:
    if approval.status is ApprovalStatus.PENDING:
        text = "Something else is asked than what was shown, or its time is over. Look at it again."
        if approval.digest == digest:
            text = "Its time is over, or its dispatch is being stopped."
    else:
        text = f"This was {approval.status.value} by {approval.answered_by} already."
    return ApprovalSettled(text, approvalId=approval.id, status=approval.status.value)
