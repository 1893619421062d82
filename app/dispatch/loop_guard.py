"""The loop guard: how far dispatched turns may dispatch on, and how much, until a human says that it may go on.

What dispatched turns ask for belongs to the chain of the first dispatch, and so do the callbacks and what these lead
to. A chain that has spent a budget is paused: it takes no more requests, and its callbacks to threads wait. A home may
have a budget too.
"""

import shlex
import time
from typing import Any, NamedTuple

from app.errors import LoopGuard, NestedSendRefused
from app.models import Dispatch, Message, Origin, Pause
from app.settings import Settings
from app.storage import dispatches, messages, pauses
from app.storage.database import Tx

MINUTE_SEC, DAY_SEC = 60.0, 86_400.0
WINDOWS = {MINUTE_SEC: "a minute", DAY_SEC: "24 hours"}
CHAIN = "chain:"
HUB = "relay-hub"
PAUSED_SEC = 3600.0
"""After which a callback of a paused chain is looked at again; to resume the chain makes it due at once."""


class Paused(LoopGuard):
    """The guard has stopped what the request belongs to."""

    def __init__(self, pause: Pause, posted: Message | None = None) -> None:
        super().__init__(
            f"{_what(pause.key)} is paused: {pause.reason}. A human resumes it: on the hub's page of dispatches, or "
            f"with: relay-hub resume {shlex.quote(pause.key)}",
            pause=pause.key,
            reason=pause.reason,
            chainId=pause.key.removeprefix(CHAIN) if pause.key.startswith(CHAIN) else None,
        )
        self.posted = posted
        """The message that told of it, if this request was what caused it."""


class Budget(NamedTuple):
    """What a chain or a home may ask for."""

    key: str
    """Of the pause, if it is spent."""
    chain_id: str | None
    limits: dict[str, float]
    """Names of settings, and the seconds in which each of them counts."""


def place(settings: Settings, caller: Dispatch | None, origin: Origin) -> dict[str, Any]:
    """Where in a chain a request stands whose caller is a dispatched turn: the fields of its dispatch.

    Raises:
        NestedSendRefused: too far from the first, or the caller would hold a slot while it waits for another.
    """
    if caller is None:
        return {}
    if origin is Origin.WAIT:
        raise NestedSendRefused(
            "This turn was dispatched itself, so it cannot wait for another one. Use relay_dispatch_async with "
            "callbackThreadId or callbackChannel.",
            callerDispatchId=caller.id,
        )
    if caller.hops >= settings.max_hops:
        raise NestedSendRefused(
            f"Dispatched turns have dispatched on {caller.hops} times; the setting max_hops allows no more.",
            callerDispatchId=caller.id,
            hops=caller.hops,
        )
    return {"caller_dispatch_id": caller.id, "chain_id": chain_of(caller), "hops": caller.hops + 1}


def chain_of(dispatch: Dispatch) -> str:
    """The chain that a dispatch belongs to: the id of its first dispatch."""
    return dispatch.chain_id or dispatch.id


def budgets(settings: Settings, home: str, chain_id: str | None) -> list[Budget]:
    """What a request is counted in; mostly nothing. Always in this order, so that no two wait for each other."""
    found = []
    limits = {"max_dispatches_per_minute": MINUTE_SEC, "max_dispatches_per_day": DAY_SEC}
    if any(getattr(settings, name) for name in limits):
        found.append(Budget(Pause.of_home(home), None, limits))
    if chain_id is not None:
        limits = {"max_chain_per_minute": MINUTE_SEC, "max_chain_per_day": DAY_SEC}
        found.append(Budget(Pause.of_chain(chain_id), chain_id, limits))
    return found


def admit(tx: Tx, settings: Settings, dispatch: Dispatch) -> Paused | None:
    """Whether a dispatch may be accepted now; if not, why. Part of the transaction that accepts it.

    What has no chain and no budget is not asked about at all.
    """
    counted = budgets(settings, dispatch.home, dispatch.chain_id)
    if not counted:
        return None
    dispatches.refuse_repetition(tx, dispatch)
    for budget in counted:
        pauses.lock(tx, budget.key)
    if paused := pauses.among(tx.session, [budget.key for budget in counted]):
        return Paused(paused[0])
    now = time.time()
    for budget in counted:
        resumed = pauses.get(tx.session, budget.key)
        since = (resumed and resumed.resumed_at) or 0.0
        for setting, seconds in budget.limits.items():
            most, start = getattr(settings, setting), max(since, now - seconds)
            if most and pauses.is_spent(tx.session, start, most, home=dispatch.home, chain_id=budget.chain_id):
                return _pause(tx, budget, f"{most} dispatches in {WINDOWS[seconds]}, {setting} allows no more")
    return None


def standstill(tx: Tx, parent: Dispatch) -> Paused | None:
    """Why the callback of a dispatch has to wait, if its chain is paused."""
    paused = pauses.among(tx.session, [Pause.of_chain(chain_of(parent))])
    return Paused(paused[0]) if paused else None


def resume(tx: Tx, key: str, by: str) -> Pause | None:
    """Let a chain or a home go on; None where the key was never paused."""
    if pauses.resume(tx, key, by) and key.startswith(CHAIN):
        chain_id = key.removeprefix(CHAIN)
        pauses.tell_now(tx, chain_id)
        pauses.note_for(tx, chain_id, "resumed", by)
    return pauses.get(tx.session, key)


def _pause(tx: Tx, budget: Budget, reason: str) -> Paused:
    pauses.pause(tx, budget.key, reason)
    pause = pauses.get(tx.session, budget.key)
    assert pause is not None
    posted = None
    if budget.chain_id is not None:
        pauses.note_for(tx, budget.chain_id, "paused", reason)
        if channel := pauses.channel_of(tx.session, budget.chain_id):
            posted = messages.append(
                tx,
                target=channel,
                sender=HUB,
                text=Paused(pause).message,
                source="dispatch",
                dispatch_id=budget.chain_id,
            )
    return Paused(pause, posted)


def _what(key: str) -> str:
    return f"The chain of dispatch {key.removeprefix(CHAIN)}" if key.startswith(CHAIN) else "This hub"
