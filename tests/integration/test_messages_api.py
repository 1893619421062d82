"""What the message routes offer past the seed: cursors, waiting, idempotency, search, and messages as events."""

import contextlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from tests.support.hub import HubProcess, Hubs
from tests.support.processes import wait_until


class Client:
    """Posts to and reads one channel of a hub."""

    def __init__(self, hub: HubProcess, channel: str) -> None:
        self.hub = hub
        self.channel = channel

    def post(self, text: str = "hi", sender: str = "claude", **more: Any) -> int:
        message = {"target": self.channel, "sender": sender, "text": text, **more}
        answer = self.hub.client.post("/api/messages", json=message)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["posted"])

    def get(self, **query: Any) -> dict[str, Any]:
        answer = self.hub.client.get("/api/messages", params={"target": self.channel, **query})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ids(self, **query: Any) -> list[int]:
        return [message["id"] for message in self.get(**query)["messages"]]


@pytest.fixture
def client(shared_hub: HubProcess, channel: str) -> Client:
    return Client(shared_hub, channel)


def test_a_reader_pages_forward_without_gap_or_repeat(client: Client) -> None:
    posted = [client.post(str(number)) for number in range(23)]
    seen: list[int] = []
    cursor, more = 0, True
    while more:
        page = client.get(since_id=cursor, limit=5)
        seen += [message["id"] for message in page["messages"]]
        cursor, more = page["latest_id"], page["has_more"]
    assert seen == posted
    assert client.get(since_id=cursor) == {
        "target": client.channel,
        "latest_id": cursor,
        "has_more": False,
        "messages": [],
    }


def test_a_reader_pages_back_from_the_end(client: Client) -> None:
    posted = [client.post(str(number)) for number in range(7)]
    page = client.get(before_id=posted[5], limit=3)
    assert [message["id"] for message in page["messages"]] == posted[2:5]
    assert page["has_more"] is True
    assert client.get(before_id=posted[2], limit=3)["has_more"] is False


def test_messages_of_one_sender_can_be_asked_for(client: Client) -> None:
    first, _, third = (client.post(sender=name) for name in ("claude", "codex", "claude"))
    assert client.ids(sender="claude") == [first, third]
    assert client.ids(sender="claude", since_id=first) == [third]
    assert client.ids(sender="nobody", since_id=0) == []


def test_the_seeds_form_has_no_further_keys(client: Client) -> None:
    client.post()
    assert list(client.get()) == ["target", "messages"]


def test_a_wait_ends_when_a_message_comes(client: Client) -> None:
    last = client.post()
    with ThreadPoolExecutor(2) as threads:
        after = threads.submit(client.get, since_id=last, wait=50)
        other = threads.submit(client.get, since_id=last, wait=50, sender="codex")
        claude, codex = client.post(), client.post(sender="codex")
        assert after.result()["messages"][0]["id"] == claude
        assert [message["id"] for message in other.result()["messages"]] == [codex]


def test_a_wait_without_a_cursor_is_for_the_next_message(client: Client) -> None:
    client.post("before")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.get, wait=50)
        # Posted until the wait has begun and one of them has ended it.
        wait_until(lambda: client.post("after") and waiting.done(), "the wait did not end")
        assert {message["text"] for message in waiting.result()["messages"]} == {"after"}


def test_a_wait_that_is_over_hands_back_the_cursor(client: Client) -> None:
    last = client.post()
    assert client.get(since_id=last, wait=0.05)["latest_id"] == last


def test_a_hub_that_stops_ends_a_wait_with_an_error_that_says_so(hub: Hubs) -> None:
    running = hub()
    with contextlib.closing(HTTPConnection("127.0.0.1", running.port, timeout=60)) as waiting:
        waiting.request("GET", "/api/messages?wait=50")
        # The stream shows that the hub has taken what was sent before it.
        with events(running, "proj-x"):
            running.stop()
        answer = waiting.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (503, "hub_stopping")


def test_the_same_key_posts_once(client: Client) -> None:
    first = client.post("once", idempotency_key="k-1")
    assert client.post("once", idempotency_key="k-1") == first
    body = {"target": client.channel, "sender": "claude", "text": "once"}
    again = client.hub.client.post("/api/messages", json=body, headers={"Idempotency-Key": "k-1"})
    assert again.json()["posted"] == first
    assert client.ids() == [first]
    assert client.post("once", sender="codex", idempotency_key="k-1") > first


def test_a_key_for_another_text_is_refused_by_name(client: Client) -> None:
    first = client.post("one", idempotency_key="k-2")
    body = {"target": client.channel, "sender": "claude", "text": "two", "idempotency_key": "k-2"}
    answer = client.hub.client.post("/api/messages", json=body)
    assert answer.status_code == 409
    assert answer.json()["code"] == "idempotency_conflict"
    assert answer.json()["details"] == {"field": "idempotency_key", "posted": first}


def test_a_message_may_answer_another_of_its_channel(client: Client) -> None:
    first = client.post()
    second = client.post(reply_to=first)
    assert client.get()["messages"][-1]["reply_to"] == first
    answer = client.hub.client.get(f"/api/messages/{second}")
    assert answer.json()["message"]["reply_to"] == first


@pytest.mark.parametrize("reply_to", [0, -1, 10**30, "5", True, 1.5, [1]])
def test_an_answer_to_what_is_not_there_is_refused(client: Client, reply_to: Any) -> None:
    body = {"target": client.channel, "sender": "claude", "text": "x", "reply_to": reply_to}
    answer = client.hub.client.post("/api/messages", json=body)
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "reply_to")


def test_an_answer_to_a_message_of_another_channel_is_refused(client: Client, shared_hub: HubProcess) -> None:
    elsewhere = Client(shared_hub, f"{client.channel}-2").post()
    body = {"target": client.channel, "sender": "claude", "text": "x", "reply_to": elsewhere}
    assert client.hub.client.post("/api/messages", json=body).status_code == 400


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since_id=abc", "since_id"),
        ("since_id=", "since_id"),
        ("before_id=1.5", "before_id"),
        ("before_id=3&since_id=1", "before_id"),
        ("before_id=3&wait=1", "before_id"),
        ("wait=61", "wait"),
        ("wait=-1", "wait"),
        ("wait=nan", "wait"),
        ("wait=x", "wait"),
        ("limit=abc", "limit"),
    ],
)
def test_a_query_that_cannot_be_meant_names_its_field(client: Client, query: str, field: str) -> None:
    answer = client.hub.client.get(f"/api/messages?{query}")
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, field)


@pytest.mark.parametrize("cursor", [-(10**30), -1, 10**30])
def test_any_whole_number_is_a_cursor(client: Client, cursor: int) -> None:
    posted = client.post()
    assert client.ids(since_id=cursor) == ([posted] if cursor < 0 else [])
    assert client.ids(before_id=cursor) == ([posted] if cursor > 0 else [])


@pytest.mark.parametrize(("path", "status"), [("999999999", 404), ("abc", 400), ("-1", 400), ("9" * 30, 400)])
def test_a_message_that_is_not_there_is_an_error_that_says_so(client: Client, path: str, status: int) -> None:
    answer = client.hub.client.get(f"/api/messages/{path}")
    assert answer.status_code == status
    assert answer.json()["ok"] is False


def test_search_finds_the_newest_first_and_pages_back(client: Client) -> None:
    word = f"needle{client.channel[-8:]}"
    posted = [client.post(f"{word} number {number}") for number in range(5)]
    client.post("nothing of it")

    def search(**query: Any) -> dict[str, Any]:
        answer = client.hub.client.get("/api/messages/search", params={"q": word, **query})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    first = search(limit=3)
    assert [message["id"] for message in first["messages"]] == posted[:1:-1]
    assert first["has_more"] is True
    rest = search(limit=3, before_id=posted[2])
    assert [message["id"] for message in rest["messages"]] == posted[1::-1]
    assert rest["has_more"] is False
    assert search(target="elsewhere")["messages"] == []
    assert search(sender="codex")["messages"] == []
    assert [m["id"] for m in search(q=f'"{word} number 3"', target=client.channel)["messages"]] == [posted[3]]


@pytest.mark.parametrize("query", ["", "q=", "q=%00", "q=--", "q=%22%22"])
def test_a_search_without_a_word_says_what_it_needs(client: Client, query: str) -> None:
    answer = client.hub.client.get(f"/api/messages/search?{query}")
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "q")


@contextmanager
def events(
    hub: HubProcess, target: str | None, last: int | None = None
) -> Iterator[Iterator[tuple[int, dict[str, Any]]]]:
    """The events of a stream that has begun, as (id, message)."""
    params = {} if target is None else {"target": target}
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with (
        httpx.Client(base_url=hub.url, timeout=30, trust_env=False) as client,
        client.stream("GET", "/api/events", params=params, headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"

        def parsed() -> Iterator[tuple[int, dict[str, Any]]]:
            event_id = 0
            for line in lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    event_id = int(value)
                elif name == "data":
                    yield event_id, json.loads(value)

        yield parsed()


def test_events_are_the_messages_as_they_come(client: Client) -> None:
    client.post("before")
    with events(client.hub, client.channel) as stream:
        first, second = client.post("one\r\ntwo\u2028"), client.post("three")
        assert next(stream) == (first, client.hub.client.get(f"/api/messages/{first}").json()["message"])
        assert next(stream)[0] == second


def test_events_of_all_channels_come_in_the_order_of_their_ids(client: Client) -> None:
    with events(client.hub, None) as stream:
        posted = [Client(client.hub, f"{client.channel}-{number % 3}").post() for number in range(9)]
        seen = [next(stream)[0]]
        while seen[-1] < posted[-1]:
            seen.append(next(stream)[0])
    assert seen == sorted(seen)
    assert set(posted) <= set(seen)


def test_a_stream_goes_on_after_the_last_event_also_over_a_killed_hub(hub: Hubs) -> None:
    running = hub()
    client = Client(running, "proj-x")
    posted = [client.post(str(number)) for number in range(3)]
    with events(running, "proj-x", last=0) as stream:
        seen = [next(stream)[0] for _ in range(2)]
    running.kill()
    running.start()
    posted += [client.post("after")]
    with events(running, "proj-x", last=seen[-1]) as stream:
        seen += [next(stream)[0] for _ in range(2)]
    assert seen == posted


def test_many_watchers_each_see_every_message_once_while_many_post(client: Client) -> None:
    total, watchers = 60, 8
    seen: list[list[int]] = [[] for _ in range(watchers)]
    ready = threading.Barrier(watchers + 1, timeout=30)

    def watch(own: list[int]) -> None:
        with events(client.hub, client.channel) as stream:
            ready.wait()
            while len(own) < total:
                own.append(next(stream)[0])

    with ThreadPoolExecutor(watchers + 4) as threads:
        watching = [threads.submit(watch, own) for own in seen]
        ready.wait()
        posted = list(threads.map(lambda number: Client(client.hub, client.channel).post(str(number)), range(total)))
        for each in watching:
            each.result()
    assert seen == [sorted(posted)] * watchers


@pytest.mark.parametrize("header", ["abc", "1.5", "9" * 5000])
def test_a_last_event_id_that_is_none_is_refused(client: Client, header: str) -> None:
    answer = client.hub.client.get("/api/events", headers={"Last-Event-ID": header})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_hub_that_stops_ends_its_streams(hub: Hubs) -> None:
    running = hub()
    with events(running, None) as stream:
        running.stop()
        assert list(stream) == []
