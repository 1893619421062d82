"""Tokens and logins: who is known by what."""

import hmac
import time

from sqlmodel import Session, col, delete, select

from app.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from app.models import Kind, Login, Principal, Scope, Token
from app.storage.database import Tx


def principal(session: Session, digest: str) -> Principal | None:
    """Whoever is known by the digest of a token or of a login's cookie, if that still counts."""
    now = time.time()
    token = session.exec(select(Token).where(Token.digest == digest)).first()
    if token is not None and hmac.compare_digest(token.digest, digest):
        return _principal(token) if is_valid(token, now) else None
    login = session.get(Login, digest)
    if login is None or not hmac.compare_digest(login.digest, digest) or login.expires_at <= now:
        return None
    token = session.get_one(Token, login.name)
    return _principal(token, by_login=True) if is_valid(token, now) else None


def any_token(session: Session) -> bool:
    """Whether there is a token, be it revoked or expired."""
    return session.exec(select(Token.name).limit(1)).first() is not None


def any_valid(session: Session) -> bool:
    """Whether there is a token that somebody could come in with."""
    return any(is_valid(token) for token in tokens(session))


def tokens(session: Session) -> list[Token]:
    """All tokens by name."""
    return list(session.exec(select(Token).order_by(Token.name)))


def is_valid(token: Token, now: float | None = None) -> bool:
    """Whether it still counts."""
    now = time.time() if now is None else now
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now)


def create(tx: Tx, token: Token) -> None:
    """Store a token. One of its name that no longer counts gives way to it.

    Raises:
        BadRequest: one of its name counts.
    """
    found = tx.session.get(Token, token.name, with_for_update=True)
    if found is not None:
        if is_valid(found):
            raise BadRequest(f"There is a token {token.name} already. Rotate it, or revoke it first.", field="name")
        _end_logins(tx, token.name)
        tx.session.delete(found)
        tx.session.flush()
    tx.session.add(token)


def rotate(tx: Tx, name: str, digest: str) -> Token:
    """Put a new secret in the place of the old one, and end its logins.

    Raises:
        NotFound: there is no such token.
        BadRequest: it counts no longer.
    """
    token = _named(tx, name)
    if not is_valid(token):
        raise BadRequest(f"The token {name} was revoked or has expired. Make a new one by relay-hub token create.")
    token.digest = digest
    tx.session.add(token)
    _end_logins(tx, name)
    return token


def revoke(tx: Tx, name: str) -> Token:
    """Let a token count no longer, nor its logins.

    Raises:
        NotFound: there is no such token.
    """
    token = _named(tx, name)
    token.revoked_at = token.revoked_at or time.time()
    tx.session.add(token)
    _end_logins(tx, name)
    return token


def clear(tx: Tx) -> int:
    """Remove all tokens and logins; returns how many tokens there were."""
    tx.session.execute(delete(Login))
    return tx.session.execute(delete(Token)).rowcount  # type: ignore[attr-defined,no-any-return]


def log_in(tx: Tx, token_digest: str, login_digest: str, expires_at: float) -> Login:
    """Store a login by a person's token, with which it ends at the latest; forget those that are over.

    Raises:
        Unauthenticated: there is no such token, or it counts no longer.
        Forbidden: it is an agent's.
    """
    token = tx.session.exec(select(Token).where(Token.digest == token_digest).with_for_update()).first()
    if token is None or not is_valid(token):
        raise Unauthenticated(
            "This token is not valid: it is unknown, or it was revoked or replaced, or it has expired.", field="token"
        )
    if token.kind is not Kind.HUMAN:
        raise Forbidden(
            f"This is the token of an agent, {token.name}. People log in with a token of their own, made by "
            "relay-hub token create NAME --human.",
            field="token",
        )
    tx.session.execute(delete(Login).where(col(Login.expires_at) <= time.time()))
    login = Login(digest=login_digest, name=token.name, expires_at=min(expires_at, token.expires_at or expires_at))
    tx.session.add(login)
    return login


def log_out(tx: Tx, digest: str) -> None:
    """End a login."""
    tx.session.execute(delete(Login).where(col(Login.digest) == digest))


def _principal(token: Token, *, by_login: bool = False) -> Principal:
    return Principal(token.name, token.kind, frozenset(map(Scope, token.scopes.split(","))), by_login)


def _named(tx: Tx, name: str) -> Token:
    token = tx.session.get(Token, name, with_for_update=True)
    if token is None:
        raise NotFound(f"There is no token {name}. relay-hub token list shows those that there are.")
    return token


def _end_logins(tx: Tx, name: str) -> None:
    tx.session.execute(delete(Login).where(col(Login.name) == name))
