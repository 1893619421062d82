"""The pages as HTML forms and links; everything here works without script."""

from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.errors import BadRequest
from app.hub import Hub
from app.storage import dispatches, messages
from app.ui.addresses import channel_name, channel_url, cursor
from app.ui.live import RECENT_DISPATCHES
from app.ui.render import THEME_COOKIE, THEMES, Renderer

MESSAGES = 100
"""Messages on a page."""
SENDERS = ("web-ui", "codex", "claude", "user")
THEME_SEC = 365 * 24 * 3600


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    async def show_channel(request: Request, name: str, status: int = 200, **composer: str) -> HTMLResponse:
        before = cursor("before", request.query_params.get("before"))
        names = await hub.chat.channels()
        name = name or next(iter(names), "")
        rows = await hub.database.read(messages.newest, name, MESSAGES + 1, before)
        shown = rows[-MESSAGES:]
        seen = await hub.database.read(messages.senders, name)
        return renderer.page(
            request,
            "channels/show.html",
            status,
            channel=name,
            channels=names,
            senders=[*SENDERS, *(sender for sender in seen if sender not in SENDERS)],
            messages=[await renderer.message(message) for message in shown],
            older=shown[0].id if len(rows) > MESSAGES else None,
            is_live=before is None,
            composer={"target": name, "sender": SENDERS[0], "text": "", "error": ""} | composer,
        )

    @router.get("/")
    async def home(request: Request, channel: str = "") -> Any:
        """The first channel. The channel selector sends its choice here."""
        name = channel_name(channel)
        return RedirectResponse(channel_url(name), 303) if name else await show_channel(request, "")

    @router.get("/channels/{name:path}")
    async def channel(request: Request, name: str) -> HTMLResponse:
        return await show_channel(request, channel_name(name))

    @router.post("/")
    @router.post("/channels/{name:path}")
    async def post(request: Request, name: str = "") -> Any:
        form = await request.form()
        given = {key: form.get(key) for key in ("target", "sender", "text")}
        fields = {key: value if isinstance(value, str) else "" for key, value in given.items()}
        # Forms send every line end as two characters; what was typed had one.
        fields["text"] = fields["text"].replace("\r\n", "\n")
        try:
            message = await hub.chat.post(**fields, source="web-ui")
        except BadRequest as error:
            return await show_channel(request, channel_name(name), error.http_status, **fields, error=error.message)
        return RedirectResponse(f"{channel_url(message.target)}#m{message.id}", 303)

    @router.get("/dispatches")
    async def all_dispatches(request: Request) -> HTMLResponse:
        before = cursor("before", request.query_params.get("before"))
        rows = await hub.database.read(dispatches.page, RECENT_DISPATCHES + 1, before)
        shown = rows[:RECENT_DISPATCHES]
        return renderer.page(
            request,
            "dispatches/index.html",
            dispatches=[await renderer.dispatch(dispatch) for dispatch in shown],
            older=shown[-1].seq if len(rows) > RECENT_DISPATCHES else None,
            is_live=before is None,
        )

    @router.get("/dispatches/{dispatch_id}")
    async def one_dispatch(request: Request, dispatch_id: str) -> HTMLResponse:
        standing = await hub.dispatches.standing(dispatch_id)
        history = await hub.database.read(dispatches.history, dispatch_id)
        return renderer.page(
            request,
            "dispatches/show.html",
            dispatch=standing.dispatch,
            detail=await renderer.dispatch_detail(standing, history),
        )

    @router.post("/theme")
    async def choose_theme(request: Request) -> RedirectResponse:
        """The theme button without script; with script it never gets here."""
        chosen = str((await request.form()).get("theme"))
        if chosen not in THEMES:
            raise BadRequest(f"theme must be one of: {', '.join(THEMES)}", field="theme")
        came_from = urlsplit(request.headers.get("referer", ""))
        query = f"?{came_from.query}" if came_from.query else ""
        # One slash alone: with two, the rest would name another host.
        response = RedirectResponse(f"/{came_from.path.lstrip('/')}{query}", 303)
        response.set_cookie(THEME_COOKIE, chosen, max_age=THEME_SEC, samesite="lax")
        return response

    return router
