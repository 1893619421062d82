"""Callbacks to a URL: signed, repeated until taken, and never inside the network unless that is allowed."""

import hashlib
import hmac
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.support.codex import CodexHome
from tests.support.hub import Hubs
from tests.support.processes import wait_until
from tests.support.serving import Served

SECRET = "a secret"


class Receiver:
    """A server that keeps what it is sent, and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[Response] = []
        self._lock = threading.Lock()
        self._served = Served(Starlette(routes=[Route("/told", self._take, methods=["GET", "POST"])]), 0)
        self.url = f"{self._served.url}/told"

    async def _take(self, request: Request) -> Response:
        with self._lock:
            self.requests.append((dict(request.headers), await request.body()))
            return self.answers.pop(0) if self.answers else Response(status_code=204)

    def start(self) -> None:
        self._served.start()

    def stop(self) -> None:
        self._served.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


def accept(hub: Any, codex_home: CodexHome, url: str) -> str:
    body = {"projectId": str(codex_home.project), "message": "[[reply done]]", "createIfMissing": True}
    return str(hub.accept(**body, callbackUrl=url)["dispatchId"])


def test_a_url_gets_the_signed_end_of_a_dispatch(hub: Hubs, codex_home: CodexHome, receiver: Receiver) -> None:
    running = hub(**codex_home.settings, webhook_secret=SECRET, webhook_allow_private=True)
    dispatch_id = accept(running, codex_home, receiver.url)
    running.dispatch_when(dispatch_id, "callbackStatus", ["delivered"])
    ((headers, body),) = receiver.requests
    signed = headers["x-relay-hub-timestamp"].encode() + b"." + body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["x-relay-hub-signature"] == f"sha256={expected}"
    assert headers["x-relay-hub-event"] == f"{dispatch_id}/succeeded"
    assert b'"replyText": "done"' in body


def test_a_url_that_refuses_is_told_again_and_never_followed_elsewhere(
    hub: Hubs, codex_home: CodexHome, receiver: Receiver
) -> None:
    running = hub(**codex_home.settings, webhook_secret=SECRET, webhook_allow_private=True)
    receiver.answers = [RedirectResponse(receiver.url, 307)]
    dispatch_id = accept(running, codex_home, receiver.url)
    waiting = running.dispatch_when(dispatch_id, "callbackErrorMessage", ["127.0.0.1 answered 307"])
    assert waiting["callbackStatus"] == "pending"
    done = running.dispatch_when(dispatch_id, "callbackStatus", ["delivered"])
    assert done["callbackErrorMessage"] is None
    assert [headers["x-relay-hub-event"] for headers, _ in receiver.requests] == [f"{dispatch_id}/succeeded"] * 2


def test_a_url_that_was_down_is_told_after_a_restart(hub: Hubs, codex_home: CodexHome, receiver: Receiver) -> None:
    running = hub(**codex_home.settings, webhook_secret=SECRET, webhook_allow_private=True)
    receiver.answers = [Response(status_code=503)]
    dispatch_id = accept(running, codex_home, receiver.url)
    wait_until(lambda: len(receiver.requests) == 1, "nothing was sent")
    running.kill()
    running.start()
    running.dispatch_when(dispatch_id, "callbackStatus", ["delivered"], timeout=90)
    assert receiver.requests[0][1] == receiver.requests[-1][1]


def test_a_url_inside_the_network_or_none_at_all_is_refused(hub: Hubs) -> None:
    client = hub(webhook_secret=SECRET).client
    for url, why in {
        "http://127.0.0.1:9/x": "private address",
        "http://[::1]:9/x": "private address",
        "http://localhost/x": "private address",
        "http://169.254.169.254/latest": "private address",
        "http://[::ffff:10.0.0.1]/x": "private address",
        "http://0x7f000001/x": "private address",
        "ftp://example.com/x": "http or https",
        "http://user:word@example.com/x": "without user name",
        "http://no-such-host.invalid/x": "cannot be found",
        "http://127.0.0.1:99999/x": "cannot be found",
        "http://[oops/x": "http or https",
        "not a url": "http or https",
    }.items():
        refused = client.post("/api/dispatches", json={"projectId": "/p", "message": "hello", "callbackUrl": url})
        assert refused.status_code == 400, url
        assert refused.json()["details"]["field"] == "callbackUrl"
        assert why in refused.json()["error"], url


def test_without_a_secret_there_are_no_webhooks(hub: Hubs) -> None:
    body = {"projectId": "/p", "message": "hello", "callbackUrl": "https://example.com/x"}
    refused = hub().client.post("/api/dispatches", json=body)
    assert refused.status_code == 400
    assert "webhook_secret" in refused.json()["error"]
