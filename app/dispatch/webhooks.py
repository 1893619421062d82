"""Telling a URL how a dispatch ended: a signed POST, never to an address inside the network unless that is allowed."""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import time
from urllib.parse import urlsplit, urlunsplit

from app import __version__
from app.errors import BadRequest
from app.settings import Settings

TIMEOUT_SEC = 10.0
FIELD = "callbackUrl"


class Webhooks:
    """Sends news of dispatches to URLs."""

    def __init__(self, settings: Settings) -> None:
        self._secret = settings.webhook_secret.encode()
        self._allow_private = settings.webhook_allow_private

    async def address(self, url: str) -> str:
        """The IP address to send to.

        Looking the name up once and using what was found keeps a name from meaning another host a moment later.

        Raises:
            BadRequest: the URL is none, its name is unknown, or it leads inside the network.
        """
        if not self._secret:
            raise BadRequest(
                "callbackUrl needs the setting webhook_secret, with which requests are signed", field=FIELD
            )
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise BadRequest("callbackUrl must be an http or https URL without user name and password", field=FIELD)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise BadRequest(f"callbackUrl: {parts.hostname} cannot be found ({error})", field=FIELD) from None
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allow_private and not all(map(_is_public, addresses)):
            raise BadRequest(
                f"callbackUrl leads to a private address ({', '.join(dict.fromkeys(addresses))}); "
                "the setting webhook_allow_private permits that",
                field=FIELD,
            )
        return addresses[0]

    async def send(self, url: str, body: bytes, event_id: str) -> str | None:
        """POST the body; None when it was taken, else why not. Redirects are not followed.

        `event_id` is the same in each try, so that a receiver can tell a repetition.
        """
        import httpx  # most hubs send none, and every start would pay for it

        try:
            address = await self.address(url)
        except BadRequest as error:
            return error.message
        parts = urlsplit(url)
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        stamp = str(int(time.time()))
        headers = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "User-Agent": f"relay-hub/{__version__}",
            "X-Relay-Hub-Event": event_id,
            "X-Relay-Hub-Timestamp": stamp,
            "X-Relay-Hub-Signature": f"sha256={signature(self._secret, stamp, body)}",
        }
        try:
            async with (
                asyncio.timeout(2 * TIMEOUT_SEC),
                httpx.AsyncClient(timeout=TIMEOUT_SEC, trust_env=False) as client,
                client.stream(
                    "POST",
                    urlunsplit(parts._replace(netloc=f"{host}{port}", fragment="")),
                    content=body,
                    headers=headers,
                    extensions={"sni_hostname": parts.hostname},
                ) as answer,
            ):
                # The body is not read: whatever answers may send without end.
                return None if answer.is_success else f"{parts.hostname} answered {answer.status_code}"
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            return f"{parts.hostname} was not reached: {error or type(error).__name__}"


def signature(secret: bytes, stamp: str, body: bytes) -> str:
    """HMAC-SHA256 over time and body, in hex: proof of who sent it, and when."""
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_global
