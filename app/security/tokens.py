"""Secrets by which somebody is known, and what is kept of them."""

import hashlib
import secrets

NOTHING = ""
"""Stands for the digest of what somebody shows who shows nothing."""


def new_secret() -> str:
    """A token, the cookie of a login, or the hub's own key: 256 random bits."""
    return f"rh_{secrets.token_urlsafe(32)}"


def digest_of(secret: bytes) -> str:
    """What is kept of a secret. Nobody can try all of them, so a plain hash hides it well."""
    return hashlib.sha256(secret).hexdigest()


def login_digest(cookie: bytes) -> str:
    """The same of a login's cookie. No cookie passes for a token, nor a token for a cookie."""
    return digest_of(b"login " + cookie)
