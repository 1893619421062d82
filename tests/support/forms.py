"""The forms of the hub's pages, sent without a browser."""

import re
from typing import Any

import httpx

from tests.support.hub import HubProcess

TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


def token_on(page: str) -> str:
    """The token that all forms of a page carry."""
    [token] = set(TOKEN.findall(page))
    return token


def post_form(hub: HubProcess, path: str, fields: dict[str, Any], **headers: str) -> httpx.Response:
    """Send a form as the hub's own page does."""
    token = token_on(hub.client.get("/dispatches").text)
    return hub.client.post(path, data={"csrf": token, **fields}, headers={"Origin": hub.url, **headers})
