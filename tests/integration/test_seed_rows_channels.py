"""Rows of the first seed that no other test does to the letter, on the wire of the seed's own time: an MCP session of
JSON answers, curl and jq, and a poller with a state file. Each test names its rows (C.A of the behaviour spec)."""

import json
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.support.hub import HubProcess, Hubs
from tests.support.parts import find_program
from tests.support.processes import base_environ
from tests.support.scripts import Script

ACCEPT = {"Accept": "application/json, text/event-stream"}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "seed", "version": "1"}}
LIVE_MS = 2000


class Seed:
    """A client of the seed: one MCP session, spoken by hand, and the routes beside it."""

    def __init__(self, hub: HubProcess) -> None:
        self.hub = hub
        self.opened = self.ask("initialize", HELLO)
        self.session = {"Mcp-Session-Id": self.opened.headers["mcp-session-id"]}
        self.initialized = self.ask("notifications/initialized", None, **self.session)

    def ask(self, method: str, params: Any, **headers: str) -> httpx.Response:
        number = {} if method.startswith("notifications/") else {"id": 1}
        body = {"jsonrpc": "2.0", **number, "method": method} | ({} if params is None else {"params": params})
        return self.hub.client.post("/mcp", json=body, headers=ACCEPT | headers)

    def result(self, method: str, params: Any = None) -> dict[str, Any]:
        answer = self.ask(method, params, **self.session)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
        result: dict[str, Any] = answer.json()["result"]
        return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = self.result("tools/call", {"name": tool, "arguments": arguments})
        assert not result.get("isError"), result
        payload: dict[str, Any] = result["structuredContent"]
        return payload

    def post(self, target: str, text: str, sender: str = "claude") -> int:
        posted = self.call("post_message", target=target, sender=sender, text=text)
        assert posted == {"ok": True, "posted": posted["posted"]}
        return int(posted["posted"])


def test_a_session_opens_lists_the_tools_with_the_seeds_arguments_and_is_gone_when_it_is_not_known(
    shared_hub: HubProcess,
) -> None:
    """A11, A27, A31."""
    seed = Seed(shared_hub)
    assert (seed.opened.status_code, seed.opened.headers["content-type"]) == (200, "application/json")
    assert (seed.initialized.status_code, seed.initialized.content) == (202, b"")
    schemas = {tool["name"]: tool["inputSchema"] for tool in seed.result("tools/list")["tools"]}
    required = {name: schemas[name].get("required", []) for name in ("post_message", "fetch_messages", "list_channels")}
    assert required == {
        "post_message": ["target", "sender", "text"],
        "fetch_messages": ["target"],
        "list_channels": [],
    }
    fetch = schemas["fetch_messages"]["properties"]
    assert {name: fetch[name]["default"] for name in ("since_id", "limit")} == {"since_id": 0, "limit": 50}
    assert schemas["list_channels"]["properties"] == {}
    assert seed.ask("tools/list", None, **{"Mcp-Session-Id": "unknown"}).status_code == 404


def test_windows_clamps_and_log_lines_are_the_seeds(hub: Hubs) -> None:
    """A4, A5, A7, A9, A14, A16, A21, A41, A42: one hub, its ids from 1 on."""
    running = hub()
    seed = Seed(running)
    assert [seed.post(target, "hi") for target in ("c1", "c2", "c1")] == [1, 2, 3]
    for number in range(520):
        answer = running.client.post("/api/messages", json={"target": "c2", "sender": "me", "text": f"{number}"})
    assert answer.status_code == 201
    message = answer.json()["message"]
    assert answer.json() == {"ok": True, "posted": 523, "message": message}
    of_the_seed = {"id": 523, "ts": message["ts"], "target": "c2", "sender": "me", "text": "519"}
    assert message == of_the_seed | {"source": "web-ui"}

    first, again = (seed.call("fetch_messages", target="c2") for _ in range(2))
    assert first == again
    assert len(first["messages"]) == 50
    sizes = [len(seed.call("fetch_messages", target="c2", limit=limit)["messages"]) for limit in (0, 999)]
    assert sizes == [1, 200]
    ids: list[int] = []
    page = first
    while page["messages"]:
        ids += [each["id"] for each in page["messages"]]
        page = seed.call("fetch_messages", target="c2", since_id=page["latest_id"])
    assert ids == [2, *range(4, 524)]
    windows = [
        [each["id"] for each in running.client.get(f"/api/messages?target=c2&limit={limit}").json()["messages"]]
        for limit in (3, 0, 9999)
    ]
    assert windows == [[521, 522, 523], [523], list(range(24, 524))]

    log = running.folder.parent / "log"
    activity, archive = ((log / name).read_text("utf-8") for name in ("activity.log", "messages.log"))
    for line in (
        'post_message {"id": 1, "target": "c1", "sender": "claude", "text_len": 2, "source": "mcp"}',
        'fetch_messages {"target": "c2", "since_id": 0, "limit": 50, "returned": 50, "latest_id": 52}',
    ):
        assert f" INFO {line}\n" in activity
    archived = [json.loads(line.split(" ", 2)[2]) for line in archive.splitlines()]
    assert [each["source"] for each in archived] == ["mcp"] * 3 + ["web-ui"] * 520


def test_who_asks_from_elsewhere_is_refused_at_mcp_before_a_session_is_made(
    shared_hub: HubProcess, channel: str
) -> None:
    """A28, A30."""
    seed = Seed(shared_hub)
    message = {"target": channel, "sender": "s", "text": "t"}
    for headers, mcp, api in (
        ({"Host": "evil.com"}, 421, 421),
        ({"Origin": "http://evil.com"}, 403, 403),
        ({"Origin": shared_hub.url}, 200, 201),
    ):
        opened = seed.ask("initialize", HELLO, **headers)
        assert (opened.status_code, "mcp-session-id" in opened.headers) == (mcp, mcp == 200)
        assert shared_hub.client.post("/api/messages", json=message, headers=headers).status_code == api
    assert len(seed.call("fetch_messages", target=channel)["messages"]) == 1


POLLER = """\
last=$(cat last 2> /dev/null || echo 0)
echo "poller_start last=$last"
while true; do
  page=$(curl -fsS --max-time 10 "$BASE_URL/api/messages?target=$TARGET&limit=200" || echo '{"messages": []}')
  newest=$(jq '[.messages[] | select(.sender == "claude") | .id] | max // 0' <<< "$page")
  if ((newest > last)); then
    jq -r --argjson last "$last" '.messages[] | select(.sender == "claude" and .id > $last)
      | "#\\(.id) [\\(.sender)] \\(.text | split("\\n")[0])"' <<< "$page"
    last=$newest
    echo "$last" > last
  fi
  sleep 0.2
done
"""
"""What the spec says of the seed's poller, and no more: no cursor, nothing encoded, the id of the last message kept."""


def test_a_poller_as_the_seeds_hears_what_is_posted_after_a_kill(hub: Hubs, tmp_path: Path) -> None:
    """A10 and R11: ids go on where they were, so a kept id is never ahead."""
    for program in ("bash", "curl", "jq"):
        find_program(program)
    running = hub()
    before = Seed(running).post("proj-x", "before\nmore")
    environ = base_environ(tmp_path) | {"BASE_URL": running.url, "TARGET": "proj-x"}
    with Script(["bash", "-c", POLLER], tmp_path, environ) as poller:
        poller.see(rf"#{before} \[claude\] before")
        running.kill()
        running.start()
        seed = Seed(running)
        own, after = seed.post("proj-x", "own", "codex"), seed.post("proj-x", "after")
        poller.see(rf"#{after} \[claude\] after")
        kept = [message["id"] for message in seed.call("fetch_messages", target="proj-x")["messages"]]
        assert kept == [before, own, after] == sorted(kept)
        assert poller.out.count("#") == 2


def test_what_an_agent_posts_is_on_an_open_page_at_once_and_harmless(
    shared_hub: HubProcess, channel: str, page: Page
) -> None:
    """A48, A49, A54: the choice of a sender outlives news."""
    seed = Seed(shared_hub)
    page.goto(f"{shared_hub.url}/channels/{channel}")
    page.get_by_label("Sender").fill("codex")

    posted = seed.post(channel, "**b** <img src=x onerror=alert(1)>", "ops-bot")

    message = page.locator(f"#m{posted}")
    expect(message.locator("strong")).to_have_text("b", timeout=LIVE_MS)
    expect(page.locator("#messages img, #messages [onerror]")).to_have_count(0)
    expect(page.locator("#senders option[value=ops-bot]")).to_have_count(1)
    expect(page.get_by_label("Sender")).to_have_value("codex")
