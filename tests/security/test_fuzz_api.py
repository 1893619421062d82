"""The API against its own document, and every field against values that nobody means well."""

import json
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.codex import FakeCodex
from tests.support import fuzz
from tests.support.approvals import owner_key
from tests.support.forms import post_form
from tests.support.hub import HubProcess, Hubs
from tests.support.processes import base_environ, run

JSON = {"Content-Type": "application/json"}
STREAMS = "events$"
"""Answers that never end; the table has them."""
NOT_CHECKED = ("positive_data_acceptance", "allow_header_conformance")
"""A schema cannot say that a project must be trusted or that a search needs a word; and the `Allow` of a 405 names the
methods of the first route with the path, of which there can be several."""

TEXT = (7, 1.5, True, [], {}, ["a"], "a\0b", "\ud800")
"""What no field for a text takes."""
REQUIRED = (*TEXT, None, "", "  ")
NUMBER = ("x", 1.5, [], {}, "\0", 10**400, "9" * 5000)
FLAG = ("x", 7, [], {}, "\0")
SECONDS = (*NUMBER, 0, -1, 3601)
DISPATCH = {"projectId": "/srv/p", "message": "m", "createIfMissing": True}
ROUTES: dict[str, tuple[dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "/api/messages": (
        {"target": "fuzzed", "sender": "s", "text": "t"},
        {
            "target": REQUIRED,
            "sender": REQUIRED,
            "text": REQUIRED,
            "reply_to": (*NUMBER, True, 0, -1, 2**63),
            "idempotency_key": TEXT,
        },
    ),
    "/api/dispatches": (
        DISPATCH,
        {
            "projectId": REQUIRED,
            "message": REQUIRED,
            "threadId": TEXT,
            "threadName": (*TEXT, "x" * 121),
            "query": TEXT,
            "createIfMissing": FLAG,
            "timeoutSec": SECONDS,
            "callbackThreadId": TEXT,
            "callbackChannel": TEXT,
            "callbackUrl": TEXT,
            "queueIfBusy": FLAG,
            "idempotencyKey": TEXT,
            "unknownField": ("x",),
        },
    ),
    "/api/dispatches/recover": ({}, {"projectId": TEXT, "callbackThreadId": TEXT, "limit": (*NUMBER, True, 0, 21, -1)}),
    "/api/dispatches/{id}/deliver": ({}, {"callbackThreadId": TEXT, "unknownField": ("x",)}),
    "/api/dispatches/{id}/recover": ({}, {"callbackThreadId": TEXT, "unknownField": ("x",)}),
    "/api/dispatches/{id}/cancel": ({}, {"unknownField": ("x", None, {})}),
    "/api/approvals/x": (
        {"decision": "deny", "digest": "d"},
        {"decision": (*REQUIRED, "maybe"), "digest": REQUIRED, "answer": (7, "x", [], True), "unknownField": ("x",)},
    ),
    "/api/pauses/resume": ({"key": "chain:x"}, {"key": REQUIRED, "unknownField": ("x",)}),
}
"""By route: a body that is right, and by its fields values that are not."""
BAD_FIELDS = [
    pytest.param(route, right, field, values, id=f"{route} {field}")
    for route, (right, fields) in ROUTES.items()
    for field, values in fields.items()
]
NOT_OBJECTS = (b"", b"{", b"[]", b"7", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 9000)

NO_NUMBERS = ("x", "", "1.5", "1e3", "0x1", "\0", " ", "9" * 5000)
NUMBERS = ("-1", "0", "9" * 30, "-" + "9" * 30, "9" * 400)
QUERIES = {
    "/api/messages": ("limit", "since_id", "before_id"),
    "/api/messages/search": ("limit", "before_id"),
    "/api/dispatches": ("limit", "cursor"),
    "/api/events": ("last_event_id",),
}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub with a scripted Codex."""
    hubs = Hubs()
    fake = FakeCodex(tmp_path_factory.mktemp("codex"), trusted=["/srv/p"])
    fake.add_threads(1, "/srv/p")
    yield hubs(codex_command=fake.command, mcp_max_wait_sec=0.2)
    hubs.end()


@pytest.fixture(scope="module")
def dispatch_id(target: HubProcess) -> str:
    """A dispatch that has ended."""
    accepted = target.accept(projectId="/srv/p", createIfMissing=True, threadName="n", message="hello")
    return str(target.dispatch_when(accepted["dispatchId"])["dispatchId"])


def check(hub: HubProcess, folder: Path, examples: int, parameters: dict[str, Any], *options: str) -> None:
    """Have schemathesis try what the OpenAPI document describes; everything answered must be described there, too."""
    config = folder / "schemathesis.toml"
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in parameters.items()]
    config.write_text("\n".join(["[parameters]", *lines]))
    command: list[str | Path] = [Path(sys.executable).with_name("st"), "--config-file", config, "run"]
    command += [f"{hub.url}/openapi.json", "--generation-deterministic", "--max-examples", str(examples)]
    command += ["--exclude-path-regex", STREAMS, "--exclude-checks", ",".join(NOT_CHECKED), "--no-shrink"]
    command += ["--request-timeout", str(fuzz.PATIENCE_SEC), "--suppress-health-check", "all", *options]
    with fuzz.unharmed(hub):
        finished = run(command, cwd=folder, environ=base_environ(folder), timeout=110)
    assert finished.returncode == 0, finished.stdout[-12000:] + finished.stderr


def test_every_answer_of_the_api_is_as_documented(target: HubProcess, tmp_path: Path) -> None:
    # A wait for a message that nobody posts is no fault.
    check(target, tmp_path, 15, {"query.wait": 0}, "--phases", "coverage,fuzzing")


def test_every_answer_about_a_dispatch_that_exists_is_as_documented(
    target: HubProcess, dispatch_id: str, tmp_path: Path
) -> None:
    about = ("--include-path-regex", "dispatchId")
    check(target, tmp_path, 10, {"path.dispatchId": dispatch_id}, "--phases", "fuzzing", *about)


def test_every_answer_to_the_owner_is_as_documented(target: HubProcess, tmp_path: Path) -> None:
    owner = ("--header", f"Authorization: Bearer {owner_key(target)}", "--include-path-regex", "approvals|pauses")
    check(target, tmp_path, 10, {}, "--phases", "coverage,fuzzing", *owner)


@pytest.mark.parametrize(("route", "right", "field", "values"), BAD_FIELDS)
def test_a_wrong_value_is_refused_by_the_name_of_its_field_and_nothing_is_stored(
    target: HubProcess, dispatch_id: str, route: str, right: dict[str, Any], field: str, values: tuple[Any, ...]
) -> None:
    before, headers = stored(target), headers_for(target, route)
    with fuzz.unharmed(target):
        for value in values:
            content = json.dumps({**right, field: value})
            answer = target.client.post(route.replace("{id}", dispatch_id), content=content, headers=headers)
            assert 400 <= answer.status_code < 500, (value, answer.text)
            assert answer.json()["details"]["field"] == field, (value, answer.text)
    assert stored(target) == before


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_is_no_object_is_refused(target: HubProcess, dispatch_id: str, route: str) -> None:
    path, before, headers = route.replace("{id}", dispatch_id), stored(target), headers_for(target, route)
    with fuzz.unharmed(target):
        for content in NOT_OBJECTS:
            assert target.client.post(path, content=content, headers=headers).status_code == 400
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            assert target.client.post(path, content=b"{}", headers={**headers, "Content-Type": kind}).status_code == 415
        for field in ROUTES[route][1]:
            # What is too large is refused before it is read.
            large = json.dumps({**ROUTES[route][0], field: "x" * (10 * 1024 * 1024)}).encode()
            answer = fuzz.send(target, "POST", path, list(headers.items()), large)
            assert answer is None or answer.status == 413
    assert stored(target) == before


@pytest.mark.parametrize(("route", "parameter"), [(route, name) for route, names in QUERIES.items() for name in names])
def test_a_wrong_parameter_is_refused_by_its_name(target: HubProcess, route: str, parameter: str) -> None:
    needed = {"q": "word"} if route.endswith("search") else {}
    with fuzz.unharmed(target):
        for value in NO_NUMBERS:
            answer = target.client.get(route, params={**needed, parameter: value})
            assert answer.status_code == 400, (value, answer.text)
            assert answer.json()["details"]["field"] == parameter
        for value in NUMBERS if route != "/api/events" else ():
            answer = target.client.get(route, params={**needed, parameter: value})
            assert answer.status_code in (200, 400), (value, answer.text)


@pytest.mark.parametrize("wait", ["x", "", "-1", "61", "nan", "inf", "1e999", "\0"])
def test_a_wait_that_is_too_long_or_no_number_is_refused(target: HubProcess, wait: str) -> None:
    answer = target.client.get("/api/messages", params={"wait": wait})
    assert (answer.status_code, answer.json()["details"]["field"]) == (400, "wait")


def test_any_text_in_an_address_is_answered(target: HubProcess) -> None:
    routes = (
        "/api/messages?target={}&sender={}",
        "/api/messages/search?q={}&target={}",
        "/api/messages/{}",
        "/api/dispatches?projectId={}&threadId={}",
        "/api/dispatches?status={}",
        "/api/dispatches/{}",
        "/api/dispatches/{}/items",
        "/api/dispatches/{}/events",
        "/api/approvals/{}",
        "/api/approvals?status={}&cursor={}",
        "/dispatches/{}",
        "/dispatches?status={}&project={}&thread={}&before={}",
        "/channels/{}?before={}&after={}",
        "/search?q={}&target={}&sender={}&before={}",
        "/static/{}",
        "/{}",
    )
    texts = [text for text in fuzz.NASTY_TEXTS if "\ud800" not in text and "\udfff" not in text]
    quoted = [urllib.parse.quote(text, safe="") for text in texts]
    quoted += ["%ff%fe", "%ed%a0%80", "%", "%zz", "..%2f..%2f", "a" * 60_000]
    with fuzz.unharmed(target):
        for route in routes:
            for text in quoted:
                path = route.replace("{}", text)
                if len(path) < 64_000:
                    answer = fuzz.send(target, "GET", path, [("Accept", "text/html")])
                    assert answer is not None
                    assert answer.status < 500, (path[:200], answer.body[-500:])


FORMS: dict[str, dict[str, tuple[Any, ...]]] = {
    "/channels/fuzzed": {
        "sender": ("", " ", "a\0b", "\x1b[31m", "x" * 5000, "s\r\nforged"),
        "text": ("", " ", "\r\n"),
        "reply_to": ("x", "-1", "0", "9" * 30, "9" * 5000, "1.5"),
    },
    "/dispatches/new": {
        "project": ("", " ", "a\0b", "/nowhere"),
        "thread": ("x" * 500, "a\0b"),
        "message": ("", " ", "a\0b", "\r\n"),
        "limit": ("x", "0", "-1", "9" * 30, "9" * 5000, "1.5"),
        "channel": ("a\0b", "\x1b[31m"),
        "key": ("a\0b",),
    },
}
RIGHT_FORMS = {
    "/channels/fuzzed": {"sender": "s", "text": "t"},
    "/dispatches/new": {"project": "/srv/p", "message": "m", "create": "1"},
}


@pytest.mark.parametrize(("path", "field"), [(path, field) for path, fields in FORMS.items() for field in fields])
def test_a_wrong_value_in_a_form_stores_nothing(target: HubProcess, path: str, field: str) -> None:
    before = stored(target)
    with fuzz.unharmed(target):
        for value in FORMS[path][field]:
            answer = post_form(target, path, {**RIGHT_FORMS[path], field: value})
            assert 400 <= answer.status_code < 500, (value, answer.text[-2000:])
    assert stored(target) == before


def test_a_broken_form_is_refused(target: HubProcess) -> None:
    before = stored(target)
    kinds = (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "text/plain",
        "",
    )
    bodies = (b"", b"\xff\0", b"a=%zz&b", b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=csrf\r\n\r\n\0")
    with fuzz.unharmed(target):
        for path in FORMS:
            for kind in kinds:
                for body in (*bodies, b"&".join([b"a=1"] * 5000)):
                    headers = [("Origin", target.url), ("Content-Type", kind)]
                    answer = fuzz.send(target, "POST", path, headers, body)
                    assert answer is None or 400 <= answer.status < 500, (kind, body[:40])
    assert stored(target) == before


def headers_for(hub: HubProcess, route: str) -> dict[str, str]:
    """Of a request that may do what the route does."""
    is_human = route.startswith(("/api/approvals", "/api/pauses"))
    return {**JSON, "Authorization": f"Bearer {owner_key(hub)}"} if is_human else JSON


def stored(hub: HubProcess) -> Any:
    """Everything that these tests could add."""
    messages = hub.client.get("/api/messages?target=fuzzed").json()["messages"]
    return messages, len(hub.client.get("/api/dispatches?limit=200").json()["dispatches"])
