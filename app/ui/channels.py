"""The pages of channels: reading, and writing with an HTML form."""

import zlib
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from app.errors import BadRequest, NotFound
from app.hub import Hub
from app.models import Message
from app.ui.addresses import channel_name, channel_url, cursor
from app.ui.excerpts import quote
from app.ui.render import SENDERS, Renderer
from app.ui.window import window

FIELDS = ("target", "sender", "text", "reply_to", "key")


def routes(hub: Hub, renderer: Renderer) -> APIRouter:
    router = APIRouter()

    async def show(request: Request, name: str, status: int = 200, **composer: Any) -> HTMLResponse:
        channels = await hub.chat.channels()
        name = name or (channels[0].name if channels else "")
        shown = await window(hub.chat, name, request.query_params)
        seen = await hub.chat.senders(name)
        standard = {"target": name, "sender": SENDERS[0], "text": "", "reply": None, "error": "", "key": uuid4().hex}
        return renderer.page(
            request,
            "channels/show.html",
            status,
            channel=name,
            channels=channels,
            senders=[*SENDERS, *(sender for sender in seen if sender not in SENDERS)],
            messages=[await renderer.message(message) for message in shown.messages],
            older=shown.before,
            newer=shown.after,
            missing=shown.missing,
            is_live=shown.after is None,
            composer=standard | composer,
        )

    async def message_in(name: str, message_id: int | None) -> Message | None:
        """The message that a reply or a quotation is about."""
        if message_id is None:
            return None
        message = await hub.chat.get(message_id)
        if message.target != name:
            raise NotFound(f"There is no message #{message_id} in this channel.")
        return message

    @router.get("/")
    async def home(request: Request, channel: str = "") -> Any:
        """The first channel. The channel selector sends its choice here."""
        name = channel_name(channel)
        return RedirectResponse(channel_url(name), 303) if name else await show(request, "")

    @router.get("/channels/{name:path}")
    async def channel(request: Request, name: str) -> HTMLResponse:
        name = channel_name(name)
        reply, quoted = [
            await message_in(name, cursor(field, request.query_params.get(field))) for field in ("reply", "quote")
        ]
        return await show(request, name, reply=reply, text=quote(quoted.text) if quoted else "")

    @router.post("/")
    @router.post("/channels/{name:path}")
    async def post(request: Request, name: str = "") -> Any:
        name = channel_name(name)
        form = await request.form()
        given = {field: form.get(field) for field in FIELDS}
        target, sender, text, reply_to, key = (value if isinstance(value, str) else "" for value in given.values())
        # Forms send every line end as two characters; what was typed had one.
        text = text.replace("\r\n", "\n")
        answered = cursor("reply_to", reply_to or None)
        # The same form sent twice is one message; sent again with other words, it is another.
        key = key and f"{key}-{zlib.crc32(repr((target, text)).encode()):08x}"
        try:
            message = await hub.chat.post(
                target=target,
                sender=sender,
                text=text,
                source="web-ui",
                principal=request.scope["principal"],
                reply_to=answered,
                idempotency_key=key,
            )
        except BadRequest as error:
            written = {"target": target, "sender": sender, "text": text, "reply": await message_in(name, answered)}
            return await show(request, name, error.http_status, error=error.message, **written)
        return RedirectResponse(f"{channel_url(message.target)}#m{message.id}", 303)

    return router
