"""Forms that prove which page they come from: a token that only the hub's own pages can know.

The token is made of a secret cookie, so the hub keeps nothing: a form that was opened before a restart still works.
It comes beside the check of `Origin`, for browsers and proxies that leave that header out or change it.
"""

import hashlib
import hmac
import secrets
import sys
from typing import Any

from fastapi import Depends, Request
from starlette.responses import Response

from app.errors import CsrfFailed
from app.security.gate import SESSION_COOKIE

COOKIE = "relay_csrf"
FIELD = "csrf"
"""The hidden field of every form that changes something."""
KEPT_SEC = 365 * 24 * 3600
_BYTES = 32
_SAFE = ("GET", "HEAD")


def secret_of(request: Request) -> str:
    """The secret cookie of a browser: that of its login, or one made for forms alone; empty where there is none."""
    cookies = request.cookies
    given = cookies.get(SESSION_COOKIE) or cookies.get(COOKIE, "")
    # One that could be guessed is not ours.
    return given if len(given) >= _BYTES else ""


def new_secret() -> str:
    return secrets.token_urlsafe(_BYTES)


def token_for(secret: str) -> str:
    """What the forms of a page carry."""
    return hmac.new(secret.encode(), FIELD.encode(), hashlib.sha256).hexdigest()


def keep(response: Response, secret: str) -> None:
    """Give a browser its secret."""
    response.set_cookie(COOKIE, secret, max_age=KEPT_SEC, httponly=True, samesite="strict")


def check(request: Request, given: Any) -> None:
    """Compare the field of a form with the browser's cookie.

    Raises:
        CsrfFailed: they do not belong together, or one of them is missing.
    """
    secret = secret_of(request)
    expected, shown = token_for(secret).encode(), str(given).encode(errors="replace")
    if not secret or not hmac.compare_digest(expected, shown):
        raise CsrfFailed(
            "The form does not carry the token of its page. Load the page again and repeat; the browser must keep "
            "cookies. Programs send JSON to /api.",
            field=FIELD,
        )


async def _checked(request: Request) -> None:
    if request.method not in _SAFE:
        # The size of the whole body is bounded already.
        form = await request.form(max_part_size=sys.maxsize)
        check(request, form.get(FIELD))


CHECKED = Depends(_checked)
"""For routers of pages: every request of theirs that could change something must be a form with the token."""
