"""Work for a hub that is being killed: dispatches that arrive all the time, and whoever is told of their ends."""

import hashlib
import hmac
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.hub import HubProcess
from tests.support.serving import Served

CHANNEL = "chaos"
SECRET = "a secret of the chaos run"
SENDERS = 6
PER_THREAD = 8
"""Messages that a sender puts into one thread, before it begins another one."""
GIVE_UP_SEC = 120
"""So long a request is repeated that no hub answers."""


@dataclass
class Order:
    """One dispatch that somebody asked for."""

    word: str
    """Stands in its message and in its reply, and nowhere else."""
    body: dict[str, Any]
    dispatch_id: str = ""
    """Empty: it was not acknowledged."""
    thread_id: str = ""

    @property
    def question(self) -> str:
        return f"question <{self.word}>"

    @property
    def reply(self) -> str:
        return f"answer <{self.word}>"


class Load:
    """Senders, each with a thread of its own; some of their messages go to, and some news come from, the others."""

    def __init__(self, hubs: Sequence[HubProcess], project: Path, told_url: str, seed: int) -> None:
        self.orders: list[Order] = []
        self.complaints: list[str] = []
        """Answers that nobody should get."""
        self._hubs = hubs
        self._project = project
        self._told_url = told_url
        self._current = [""] * SENDERS
        self._enough = threading.Event()
        self._senders = [
            threading.Thread(target=self._send_all, args=(number, random.Random(f"{seed}/{number}")), daemon=True)
            for number in range(SENDERS)
        ]

    def start(self) -> None:
        for sender in self._senders:
            sender.start()

    def stop(self) -> None:
        """Return when every request under way is answered; the hubs must be running."""
        self._enough.set()
        for sender in self._senders:
            sender.join(GIVE_UP_SEC)

    def _send_all(self, number: int, chance: random.Random) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            for n in itertools.count():
                is_first = n % PER_THREAD == 0
                order = self._order(number, n, is_first, chance)
                self.orders.append(order)
                self._hand_in(client, order, chance)
                if is_first:
                    self._current[number] = order.thread_id
                if self._enough.wait(chance.uniform(0.05, 0.5)):
                    return

    def _order(self, number: int, n: int, is_first: bool, chance: random.Random) -> Order:
        word = f"{number}-{n}"
        others = [thread for thread in self._current if thread not in ("", self._current[number])]
        body: dict[str, Any] = {"projectId": str(self._project), "idempotencyKey": word}
        if is_first or not self._current[number]:
            body |= {"threadName": f"chaos {number} {n // PER_THREAD}", "createIfMissing": True}
        elif others and chance.random() < 0.2:
            body["threadId"] = chance.choice(others)
        else:
            body["threadId"] = self._current[number]
        match chance.choice(["nobody", "thread", "thread", "channel", "url"]):
            case "thread" if others:
                body["callbackThreadId"] = chance.choice(others)
            case "channel":
                body["callbackChannel"] = CHANNEL
            case "url":
                body["callbackUrl"] = self._told_url
        order = Order(word, body)
        length = chance.choice([0.0, 0.2, 0.5, 2.0])
        if length == 2.0 and chance.random() < 0.5:
            body["timeoutSec"] = 1
        body["message"] = f"{order.question} [[slow {length}]] [[reply {order.reply}]]"
        return order

    def _hand_in(self, client: httpx.Client, order: Order, chance: random.Random) -> None:
        """Ask until there is an answer: with its key, a repetition is the same dispatch."""
        deadline = time.monotonic() + GIVE_UP_SEC
        while time.monotonic() < deadline:
            try:
                answer = client.post(f"{chance.choice(self._hubs).url}/api/dispatches", json=order.body)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code == 202:
                receipt = answer.json()
                order.dispatch_id, order.thread_id = receipt["dispatchId"], receipt["threadId"]
                return
            if answer is not None and answer.status_code != 503:
                self.complaints.append(f"order {order.word} was answered {answer.status_code}: {answer.text}")
                return
            threading.Event().wait(0.1)
        self.complaints.append(f"order {order.word} was not answered within {GIVE_UP_SEC} s")


@dataclass
class Receiver:
    """The URL that is told; at times it does not take what it is sent."""

    chance: random.Random
    events: Counter[str] = field(default_factory=Counter)
    """How often each event was taken."""
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._served = Served(Starlette(routes=[Route("/told", self._take, methods=["POST"])]))
        self.url = f"{self._served.url}/told"

    def __enter__(self) -> "Receiver":
        self._served.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._served.stop()

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        stamp, event = (request.headers[f"x-relay-hub-{name}"] for name in ("timestamp", "event"))
        proof = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        with self._lock:
            if request.headers["x-relay-hub-signature"] != f"sha256={proof}":
                self.complaints.append(f"the signature of event {event} is wrong")
            if self.chance.random() < 0.15:
                return Response(status_code=503)
            self.events[event] += 1
        return Response(status_code=204)
