"""From templates to HTML: pages, and the fragments that pages and live streams share."""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.dispatch.approvals import Approvals
from app.errors import NotFound
from app.models import NOBODY, Channel, Dispatch, Message, TurnItem
from app.schemas import iso
from app.security import csrf
from app.security.gate import SESSION_COOKIE
from app.settings import ROOT
from app.storage.approvals import Shown
from app.ui.addresses import channel_url, dispatch_url, message_url
from app.ui.asked import in_words, view
from app.ui.code import diff_block
from app.ui.excerpts import first_words
from app.ui.markdown import Markdown
from app.ui.story import Story, actions, is_open, output, plan, tokens
from app.visible import visible

CACHE_CHARS = 32 * 1024 * 1024
"""How much rendered HTML is kept; a message takes about twice its text."""
THEME_COOKIE = "relay_theme"
THEMES = ("light", "dark")
SENDERS = ("web-ui", "codex", "claude", "user")
"""Offered to whoever writes or searches; others can be typed."""
HUES = 8
"""Colours for senders; static/css/colors.css defines as many."""

Find = Callable[[int], Awaitable[Message]]
Back = tuple[str, str]
"""A path, and the words of the link to it."""
HOME: Back = ("/", "Back to the channels")


def asset_folder(name: str) -> Path:
    """The folder `templates` or `static`: inside the package in a wheel, beside it in a checkout."""
    packed = Path(__file__).resolve().parent.parent / name
    return packed if packed.is_dir() else ROOT / name


class Renderer:
    """The templates, and a bounded cache of fragments: what does not change is rendered once for all readers."""

    def __init__(self, find: Find | None = None, approvals: Approvals | None = None) -> None:
        """`find` is how a message gets the one that it answers; without it, answers are shown without a quote.
        `approvals` is what every page tells of."""
        self._find = find
        self._approvals = approvals
        self._env = Environment(
            loader=FileSystemLoader(asset_folder("templates")),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._env.globals |= {"asset": _Assets().url}
        self._env.globals |= {"channel_url": channel_url, "dispatch_url": dispatch_url, "message_url": message_url}
        self._env.filters |= {"duration": duration, "first_words": first_words, "folder": folder, "hue": _hue}
        self._env.filters |= {"diff": diff_block, "is_open": is_open, "iso": iso, "output": output}
        self._env.filters |= {"in_words": in_words, "view": view, "visible": visible}
        self._env.filters |= {"markdown": Markdown().render, "plan": plan, "tokens": tokens}
        self._fragments: OrderedDict[Hashable, Markup] = OrderedDict()
        self._chars = 0
        self._turn = asyncio.Lock()

    def render(self, template: str, **values: Any) -> str:
        return self._env.get_template(template).render(values)

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """The answer to a request for a page. Forms find their token in `csrf`; pieces that readers share have none."""
        theme = request.cookies.get(THEME_COOKIE, "")
        values |= {"theme": theme if theme in THEMES else "", "origin": str(request.base_url).rstrip("/")}
        values["principal"] = request.scope.get("principal", NOBODY)
        values["pending"] = self._approvals.pending if self._approvals else 0
        values["in_danger"] = self._approvals.in_danger if self._approvals else []
        known = csrf.secret_of(request)
        secret = known or csrf.new_secret()
        values["csrf"] = csrf.token_for(secret)
        # What somebody saw who has logged out is not for whoever goes back to it.
        kept = "no-store" if SESSION_COOKIE in request.cookies else "private, no-cache"
        response = HTMLResponse(self.render(template, **values), status, {"Cache-Control": kept})
        if not known:
            csrf.keep(response, secret)
        return response

    def error(self, request: Request, status: int, title: str, message: str, back: Back = HOME) -> HTMLResponse:
        """A whole page that says what went wrong; `back` is where to go from there."""
        return self.page(request, "error.html", status, status_code=status, title=title, message=message, back=back)

    async def message(self, message: Message) -> Markup:
        """Messages never change, and so do the ones that they answer."""
        template, parent = "channels/_message.html", None
        if message.reply_to and self._find and (template, message.id) not in self._fragments:
            with suppress(NotFound):
                parent = await self._find(message.reply_to)
        return await self._fragment(template, message.id, message=message, parent=parent)

    async def channels(self, rows: Sequence[Channel], current: str, version: int) -> Markup:
        """The list of channels; `version` tells one list from the next."""
        return await self._fragment("channels/_channels.html", (current, version), channels=rows, channel=current)

    async def dispatch(self, dispatch: Dispatch) -> Markup:
        """A dispatch's line in the list."""
        version = (dispatch.id, dispatch.updated_at)
        return await self._fragment("dispatches/_dispatch.html", version, dispatch=dispatch)

    async def approval(self, shown: Shown) -> Markup:
        """What Codex asks, or has asked."""
        version = (shown.approval.id, shown.approval.status, shown.approval.used_at)
        return await self._fragment("approvals/_approval.html", version, shown=shown)

    async def parts(self, story: Story) -> dict[str, Markup]:
        """The parts of a dispatch's page that change as wholes, by the names of their templates."""
        dispatch = story.dispatch
        # While a turn runs its row changes all the time; what is costly is made again only when it has changed itself.
        reply = dispatch.reply_text, dispatch.error_code, dispatch.error_message
        known = dispatch.updated_at, story.standing.suggested, len(story.messages), len(story.children)
        versions: dict[str, Hashable] = {
            "head": (known, *(pause.paused_at for pause in story.pauses)),
            "asked": tuple(shown.approval.id for shown in story.approvals),
            "steps": (dispatch.usage, len(story.items)),
            "result": zlib.crc32(repr(reply).encode()),
            "changes": (zlib.crc32((dispatch.diff or "").encode()), dispatch.finished_at),
            "facts": known,
            "history": len(story.history),
        }
        values = {"story": story, "dispatch": dispatch, "actions": actions(story.standing)}
        return {
            name: await self._fragment(f"dispatches/_{name}.html", (dispatch.id, version), **values)
            for name, version in versions.items()
        }

    async def step(self, item: TurnItem, is_reply: bool) -> Markup:
        """One step of a turn. The one that is the reply is left empty: the reply has its own place."""
        version = (item.dispatch_id, item.item_id, item.updated_at, is_reply)
        return await self._fragment("dispatches/_step.html", version, item=item, is_reply=is_reply)

    async def _fragment(self, template: str, key: Hashable, **values: Any) -> Markup:
        """A piece of a page, rendered once for each template and key while the cache holds it.

        Texts can be long, so this happens in a thread; one at a time, so that readers who ask for the same piece
        together find it made by the first of them.
        """
        if (template, key) not in self._fragments:
            async with self._turn:
                if (template, key) not in self._fragments:
                    html = await asyncio.to_thread(self.render, template, **values)
                    return self._keep((template, key), Markup(html))  # noqa: S704
        self._fragments.move_to_end((template, key))
        return self._fragments[template, key]

    def _keep(self, key: Hashable, html: Markup) -> Markup:
        self._fragments[key] = html
        self._chars += len(html)
        while self._chars > CACHE_CHARS:
            self._chars -= len(self._fragments.popitem(last=False)[1])
        return html


class _Assets:
    """Addresses of static files that change with their content, so that browsers never mix two versions of the hub."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}

    def url(self, name: str) -> str:
        if name not in self._urls:
            content = (asset_folder("static") / name).read_bytes()
            self._urls[name] = f"/static/{name}?v={zlib.crc32(content):08x}"
        return self._urls[name]


def _hue(name: str) -> int:
    return zlib.crc32(name.encode()) % HUES


def folder(path: str) -> str:
    """The last part of a path, of whatever system."""
    return path.replace("\\", "/").rstrip("/").split("/")[-1] or path


def duration(milliseconds: int) -> str:
    """`850 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{milliseconds} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
