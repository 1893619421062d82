"""Who may reach the hub, on every route and before anything else."""

import json

import pytest

from tests.support.forms import post_form
from tests.support.hub import HubProcess, Hubs

ROUTES = ("/", "/api/messages", "/api/channels", "/api/dispatches", "/mcp", "/mcp/", "/dispatches", "/healthz", "/nope")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "host", ["evil.com", "127.0.0.1.evil.com", "127.0.0.1:80.evil.com", "localhost@evil.com", "", "[::1", "127.0.0.1:x"]
)
def test_a_foreign_host_is_refused_everywhere(shared_hub: HubProcess, route: str, host: str) -> None:
    answer = shared_hub.client.get(route, headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["code"] == "host_not_allowed"
    assert "allowed_hosts" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1", "[::1]:{port}", "127.0.0.1:1"])
def test_loopback_is_admitted_under_each_of_its_names(shared_hub: HubProcess, host: str) -> None:
    running = shared_hub
    assert running.client.get("/healthz", headers={"Host": host.format(port=running.port)}).text == "ok"


@pytest.mark.parametrize("route", ["/mcp", "/api/messages", "/channels/proj-x", "/nope"])
@pytest.mark.parametrize(
    "origin", ["http://evil.com", "null", "http://127.0.0.1:1", "http://localhost:{port}.evil.com", "file://", "x"]
)
def test_pages_of_others_are_refused(shared_hub: HubProcess, route: str, origin: str) -> None:
    running = shared_hub
    headers = {"Origin": origin.format(port=running.port)}
    for method in ("GET", "POST", "OPTIONS"):
        answer = running.client.request(method, route, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers


def test_the_hubs_own_pages_are_admitted(shared_hub: HubProcess) -> None:
    running = shared_hub
    body = {"target": "c", "sender": "s", "text": "t"}
    assert running.client.post("/api/messages", json=body, headers={"Origin": running.url}).status_code == 201


def test_allowed_hosts_admit_by_name_and_port(hub: Hubs) -> None:
    running = hub(allowed_hosts="192.168.2.3, h:80, any:*")
    expected = {"192.168.2.3:8010": 200, "192.168.2.4:8010": 421, "h:80": 200, "h:81": 421, "any:7": 200}
    for host, status in expected.items():
        assert running.client.get("/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_write_that_is_not_json_changes_nothing(shared_hub: HubProcess, channel: str, kind: str) -> None:
    running = shared_hub
    content = json.dumps({"target": channel, "sender": "s", "text": "t"})
    answer = running.client.post("/api/messages", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]
    assert running.client.get(f"/api/messages?target={channel}").json()["messages"] == []


def test_a_form_without_an_origin_is_refused(shared_hub: HubProcess) -> None:
    running = shared_hub
    form = {"target": "c", "sender": "s", "text": "t"}
    assert running.client.post("/channels/c", data=form).status_code == 403
    assert post_form(running, "/channels/c", form).status_code == 303


@pytest.mark.parametrize("route", ["/", "/api/channels", "/mcp", "/static/nope", "/nope"])
def test_every_answer_carries_the_protective_headers(shared_hub: HubProcess, route: str) -> None:
    headers = shared_hub.client.get(route).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "route", ["/.well-known/oauth-protected-resource/mcp", "/.well-known/openid-configuration", "/register"]
)
def test_discovery_of_an_authorization_server_ends_in_a_plain_404(shared_hub: HubProcess, route: str) -> None:
    running = shared_hub
    for answer in (running.client.get(route), running.client.post(route, json={})):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_unknown_path_is_a_page_for_people_and_json_for_programs(shared_hub: HubProcess) -> None:
    client = shared_hub.client
    assert client.get("/nope").json()["error"] == "There is nothing at /nope. /docs lists what there is."
    page = client.get("/nope", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert client.put("/api/messages").status_code == 405


@pytest.mark.parametrize("route", ["/", "/healthz", "/api/messages", "/dispatches", "/nope"])
def test_head_answers_as_get_without_a_body(shared_hub: HubProcess, route: str) -> None:
    head, get = shared_hub.client.head(route), shared_hub.client.get(route)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_the_docs_name_every_tool_and_route(shared_hub: HubProcess) -> None:
    client = shared_hub.client
    page = client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert set(paths["/api/messages"]) == {"get", "post"}
    for name in (*paths, "/openapi.json", "post_message", "fetch_messages", "list_channels", "relay_dispatch"):
        assert name in page
    assert {"/api/channels", "/api/dispatches", "/mcp"} <= set(paths)


def test_an_mcp_session_that_is_gone_gets_404_so_that_clients_begin_a_new_one(shared_hub: HubProcess) -> None:
    headers = {"Mcp-Session-Id": "gone", "Accept": "application/json, text/event-stream"}
    answer = shared_hub.client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers)
    assert answer.status_code == 404
