"""Logging in and out of the pages: a person's token, shown once, for a cookie that lasts."""

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.errors import Forbidden, Unauthenticated
from app.hub import Hub
from app.security import csrf
from app.security.gate import SESSION_COOKIE
from app.security.tokens import digest_of, login_digest, new_secret
from app.storage import principals
from app.ui.render import Renderer


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(include_in_schema=False, dependencies=[csrf.CHECKED])

    @router.get("/login")
    async def show(request: Request) -> HTMLResponse:
        return renderer.page(request, "login.html", next=local(request.query_params.get("next")), error="")

    @router.post("/login")
    async def log_in(request: Request) -> Any:
        form = await request.form()
        next_path = local(form.get("next"))
        token = str(form.get("token", "")).strip().encode(errors="replace")
        cookie = new_secret()
        lasts_sec = hub.settings.login_hours * 3600
        try:
            login = await hub.database.write(
                principals.log_in, digest_of(token), login_digest(cookie.encode()), time.time() + lasts_sec
            )
        except (Unauthenticated, Forbidden) as error:
            return renderer.page(request, "login.html", error.http_status, next=next_path, error=error.message)
        hub.logs.activity("login", principal=login.name)
        response = RedirectResponse(next_path, 303)
        response.set_cookie(
            SESSION_COOKIE,
            cookie,
            max_age=int(lasts_sec),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @router.post("/logout")
    async def log_out(request: Request) -> RedirectResponse:
        await hub.database.write(principals.log_out, request.scope["credential"])
        response = RedirectResponse("/login", 303)
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    return router


def local(address: Any) -> str:
    """The address if it is one of the hub's own pages, else the first page. Browsers read a backslash as a slash, leave
    out controls, and take what follows two slashes for another host."""
    if not isinstance(address, str) or not address.startswith("/") or address.startswith("//"):
        return "/"
    return "/" if "\\" in address or not address.isprintable() else address
