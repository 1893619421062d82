"""Pages of other sites, and whatever else comes in another's name: against every route, nothing is stored or read."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.support.browser import WAIT_MS, running_browser
from tests.support.hub import HubProcess, Hubs
from tests.support.processes import run
from tests.support.routes import every_route, forms, paths
from tests.support.wire import ask

MESSAGE = {"target": "stolen", "sender": "evil", "text": "I was here"}
ROUTES = every_route()
JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
CROSS = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")

FOREIGN: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "a foreign origin": (403, "1.1", ("Origin: http://evil.example",)),
    "an origin that is hidden": (403, "1.1", ("Origin: null",)),
    "an empty origin": (403, "1.1", ("Origin:",)),
    "another port of this machine": (403, "1.1", ("Origin: http://127.0.0.1:1",)),
    "an origin with more behind it": (403, "1.1", ("Origin: http://127.0.0.1:{port}/x",)),
    "an origin with a user": (403, "1.1", ("Origin: http://127.0.0.1:{port}@evil.example",)),
    "an origin that cannot be parsed": (403, "1.1", ("Origin: http://[",)),
    "two origins": (400, "1.1", ("Origin: http://127.0.0.1:{port}", "Origin: http://evil.example")),
    "an extension": (403, "1.1", ("Origin: chrome-extension://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",)),
    "a WebSocket of a foreign page": (403, "1.1", ("Origin: http://evil.example", *UPGRADE)),
    "an image or script of a foreign page": (403, "1.1", (*CROSS, "Sec-Fetch-Dest: image")),
    "a frame in a foreign page": (403, "1.1", ("Sec-Fetch-Site: same-site", "Sec-Fetch-Dest: iframe")),
    "a foreign host": (421, "1.1", ("Host: evil.example:{port}",)),
    "a foreign host that looks like ours": (421, "1.1", ("Host: 127.0.0.1.evil.example",)),
    "a name below localhost": (421, "1.1", ("Host: evil.localhost:{port}",)),
    "a host with a dot at its end": (421, "1.1", ("Host: localhost.:{port}",)),
    "a host with a user": (421, "1.1", ("Host: localhost@evil.example",)),
    "an address in other digits": (421, "1.1", ("Host: 2130706433:{port}",)),
    "a host that is all addresses": (421, "1.1", ("Host: 0.0.0.0:{port}",)),
    "a host with spaces": (421, "1.1", ("Host: localhost evil.example",)),
    "an endless host": (421, "1.1", (f"Host: {'localhost' * 1000}",)),
    "no host": (421, "1.0", ("Host:",)),
    "the right origin and a foreign host": (421, "1.1", ("Host: evil.example", "Origin: http://evil.example")),
    "two hosts": (400, "1.1", ("Host: 127.0.0.1:{port}", "Host: evil.example")),
}


def stored(hub: HubProcess) -> tuple[Any, ...]:
    """All that a stranger could have left."""
    get = hub.client.get
    return (
        [name for name in get("/api/channels").json()["channels"] if name in ("stolen", "x")],
        get("/api/messages", params={"target": "stolen"}).json()["messages"],
        get("/api/messages", params={"target": "x"}).json()["messages"],
        get("/api/dispatches").json()["dispatches"],
    )


@pytest.mark.parametrize("kind", FOREIGN)
def test_nobody_else_gets_an_answer_from_any_route(shared_hub: HubProcess, kind: str) -> None:
    before = stored(shared_hub)
    status, version, lines = FOREIGN[kind]
    headers = [line.format(port=shared_hub.port) for line in lines]
    bodies = [
        (JSON, httpx.Request("POST", "http://x", json=MESSAGE)),
        (FORM, httpx.Request("POST", "http://x", data=MESSAGE)),
    ]
    for method, path in [*ROUTES, ("OPTIONS", "/api/messages"), ("GET", "/nowhere"), ("PUT", "/"), ("PATCH", "/mcp")]:
        for content_type, sent in bodies if method == "POST" else bodies[:1]:
            body = sent.read() if method == "POST" else b""
            more = [content_type, f"Content-Length: {len(body)}"] if body else []
            answer = ask(shared_hub, *headers, *more, first=f"{method} {path} HTTP/{version}", body=body)
            assert answer.status == status, (method, path)
            assert not {name for name in answer.headers if name.startswith("access-control") or name == "set-cookie"}
            if method != "HEAD":
                assert set(answer.json) == {"ok", "error", "code", "details"}
                assert status == 400 or (answer.json["details"]["setting"] == "allowed_hosts" in answer.json["error"])
            assert "location" not in answer.headers
    assert stored(shared_hub) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", ""])
def test_a_write_without_an_origin_is_json_or_nothing(shared_hub: HubProcess, kind: str) -> None:
    before = stored(shared_hub)
    for method, path in ROUTES:
        if method == "POST":
            answer = shared_hub.client.post(path, content=b'{"target": "stolen"}', headers={"Content-Type": kind})
            assert answer.status_code in (400, 403, 415), path
    assert stored(shared_hub) == before


@pytest.mark.parametrize("path", [*paths(), "/nowhere", "/mcp/x", "/api"])
def test_every_answer_keeps_others_out(shared_hub: HubProcess, path: str) -> None:
    with shared_hub.client.stream("GET", path) as answer:
        headers = answer.headers
    policy = dict(part.split(maxsplit=1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["form-action"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] in ("no-store", "private, no-cache")
    assert "server" not in headers


def test_files_of_the_page_may_be_kept(shared_hub: HubProcess) -> None:
    assert "immutable" in shared_hub.client.get("/static/css/base.css").headers["cache-control"]


class ForeignSite(ThreadingHTTPServer):
    """A web server of somebody else, on this machine. It answers everything with an empty page."""

    daemon_threads = True

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Foreign</title><a id=link>A link</a>")

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port = self.server_address[1]


@pytest.fixture(scope="module")
def foreign() -> Iterator[ForeignSite]:
    with ForeignSite() as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def rebound() -> Iterator[Browser]:
    """A browser whose DNS was told that evil.example is this machine."""
    with running_browser("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def attacked_hub() -> Iterator[HubProcess]:
    """A hub with tokens."""
    hubs = Hubs()
    hub = hubs.prepare()
    made = run([*hub.command, "token", "create", "kim", "--human"], cwd=hub.folder, environ=hub.environ)
    assert made.returncode == 0, made.stderr
    hub.environ["TOKEN_OF_THE_TEST"] = made.stdout.split()[0]
    hub.start()
    hub.client.headers["Authorization"] = f"Bearer {hub.environ['TOKEN_OF_THE_TEST']}"
    yield hub
    hubs.end()


@pytest.fixture
def victim(rebound: Browser, attacked_hub: HubProcess) -> Iterator[BrowserContext]:
    """The browser of somebody who is logged in."""
    context = rebound.new_context()
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(f"{attacked_hub.url}/login")
    page.get_by_label("Your token").fill(attacked_hub.environ["TOKEN_OF_THE_TEST"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Relay Hub")).to_be_visible()
    page.get_by_role("button", name="Dark mode").click()
    yield context
    context.close()


FETCH = """async ([hub, routes, message]) => {
  const types = ["text/plain", "application/x-www-form-urlencoded", "application/json"];
  const got = [];
  const ask = async (method, path, mode, type) => {
    const body = method === "GET" || method === "HEAD" ? undefined
      : type === types[1] ? new URLSearchParams(message) : JSON.stringify(message);
    const headers = body === undefined ? {} : { "Content-Type": type };
    try {
      const response = await fetch(hub + path, { method, mode, headers, body, credentials: "include" });
      got.push([method, path, mode, type, response.type, response.status, (await response.text()).slice(0, 100)]);
    } catch { /* as it should be */ }
  };
  for (const [method, path] of routes) {
    const modes = method === "DELETE" ? ["cors"] : ["cors", "no-cors"];
    await Promise.all(modes.flatMap((mode) => (method === "POST" ? types : types.slice(0, 1)).map(
      (type) => ask(method, path, mode, type))));
  }
  return got;
}"""

EMBED = """async ([hub, paths]) => {
  const got = [];
  const tried = (name, path, make) => new Promise((done) => {
    const thing = make(hub + path);
    const told = ({ type }) => {
      if (type !== "error") got.push([name, path, type]);
      thing.close?.();
      done();
    };
    for (const type of ["load", "error", "open", "message"]) thing.addEventListener(type, told);
    if (thing instanceof Element) document.body.append(thing);
  });
  const element = (tag, name) => (url) => Object.assign(document.createElement(tag), { [name]: url });
  const style = (url) => Object.assign(document.createElement("link"), { rel: "stylesheet", href: url });
  for (const path of paths) {
    await Promise.all([
      tried("script", path, element("script", "src")),
      tried("image", path, element("img", "src")),
      tried("style", path, style),
      tried("events", path, (url) => new EventSource(url, { withCredentials: true })),
    ]);
  }
  // A browser waits longer and longer between sockets that fail.
  for (const path of ["/", "/mcp"]) {
    await tried("socket", path, (url) => new WebSocket(url.replace("http", "ws")));
  }
  return got;
}"""

SUBMIT = """async ([hub, paths, message]) => {
  const make = (tag, values) => Object.assign(document.createElement(tag), values);
  const loaded = (frame, begin) => new Promise((done) => {
    frame.addEventListener("load", done);
    begin();
  });
  for (const path of paths) {
    for (const enctype of ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]) {
      const frame = make("iframe", { name: "f" + Math.random() });
      const form = make("form", { action: hub + path, method: "post", enctype, target: frame.name });
      form.append(...Object.entries(message).map(([name, value]) => make("input", { name, value })));
      document.body.append(frame, form);
      await loaded(frame, () => form.submit());
    }
  }
  for (const path of ["/", "/api/messages", "/dispatches"]) {
    const frame = make("iframe", { src: hub + path });
    await loaded(frame, () => document.body.append(frame));
  }
}"""


def page_of(context: BrowserContext, site: ForeignSite, host: str) -> Page:
    page = context.new_page()
    page.goto(f"http://{host}:{site.port}/")
    assert page.title() == "Foreign"
    return page


@pytest.mark.browser
@pytest.mark.parametrize("place", ["127.0.0.1", "foreign.localhost", "evil.example"])
def test_a_foreign_page_can_neither_write_nor_read(
    victim: BrowserContext, foreign: ForeignSite, attacked_hub: HubProcess, place: str
) -> None:
    """With the cookies of a login: on the same host, a page of another port is sent even strict ones."""
    page = page_of(victim, foreign, place)
    reachable = [attacked_hub.url]
    if place != "127.0.0.1":
        reachable.append(f"http://{place}:{attacked_hub.port}")
    before = stored(attacked_hub)
    for hub in reachable:
        assert page.evaluate(FETCH, [hub, ROUTES, MESSAGE]) == []
        assert page.evaluate(EMBED, [hub, [path for path in paths() if not path.startswith("/static")]]) == []
        page.evaluate(SUBMIT, [hub, [*forms(), "/api/messages", "/api/dispatches", "/mcp"], MESSAGE])
        for frame in page.frames[1:]:
            assert (
                frame.url.startswith("chrome-error:") or "not allowed" in frame.content() or "is not" in frame.content()
            )
    assert stored(attacked_hub) == before
    assert {cookie["value"] for cookie in victim.cookies() if cookie["name"] == "relay_theme"} == {"dark"}


@pytest.mark.browser
def test_a_name_that_comes_to_mean_this_machine_opens_nothing(victim: BrowserContext, attacked_hub: HubProcess) -> None:
    """DNS rebinding: for the browser the page and the hub are then of one origin, so it would show every answer."""
    page = victim.new_page()
    answer = page.goto(f"http://evil.example:{attacked_hub.port}/")
    assert answer is not None
    assert answer.status == 421
    before = stored(attacked_hub)
    got = page.evaluate(FETCH, [f"http://evil.example:{attacked_hub.port}", ROUTES, MESSAGE])
    assert len(got) >= len(ROUTES)
    assert {(status, text[:10]) for *_, method, status, text in got if text} == {(421, '{"ok":fals')}
    assert stored(attacked_hub) == before


@pytest.mark.browser
@pytest.mark.parametrize("place", ["127.0.0.1", "evil.example"])
def test_a_link_of_another_site_leads_to_the_page_as_its_reader_knows_it(
    victim: BrowserContext, foreign: ForeignSite, attacked_hub: HubProcess, place: str
) -> None:
    form = victim.new_page()
    form.goto(f"{attacked_hub.url}/dispatches/new")
    token = form.locator("form.hand-over [name=csrf]").input_value()
    page = page_of(victim, foreign, place)
    page.evaluate(
        "url => { document.getElementById('link').href = url }", f"{attacked_hub.url}/channels/c?x=1&y=<2>#m1"
    )

    page.get_by_text("A link").click()

    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    expect(page).to_have_url(f"{attacked_hub.url}/channels/c?x=1&y=%3C2%3E#m1")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#composer [name=csrf]")).to_have_value(token)
    page.go_back()
    expect(page).to_have_title("Foreign")


@pytest.mark.browser
def test_a_link_of_another_site_works_without_script(
    rebound: Browser, foreign: ForeignSite, shared_hub: HubProcess, channel: str
) -> None:
    context = rebound.new_context(java_script_enabled=False)
    page = context.new_page()
    address = f"{shared_hub.url}/channels/{channel}?before=7&x=%22%3E%3Cb%3E"
    page.goto(address, referer=f"http://evil.example:{foreign.port}/")
    expect(page.get_by_role("heading", name=channel)).to_be_visible()
    first = shared_hub.client.get(address, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"})
    assert "set-cookie" not in first.headers
    assert '"0; url=?before=7&amp;x=%22%3E%3Cb%3E"' in first.text
    context.close()
