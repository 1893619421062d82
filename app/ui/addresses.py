"""Addresses of pages: how a channel's name goes into a path and comes out of it, and cursors in queries."""

from urllib.parse import quote

from app.errors import BadRequest, NotFound
from app.models import Message


def channel_url(name: str) -> str:
    """The path of a channel's page, whatever its name holds."""
    # Browsers resolve "." and ".." even when they are encoded; a space hides them, and names have none at their ends.
    return f"/channels/{quote(name, safe='')}{'%20' if name in ('.', '..') else ''}"


def message_url(message: Message) -> str:
    """The address of a message for ever: the page around it, however old it is."""
    return f"{channel_url(message.target)}?at={message.id}#m{message.id}"


def dispatch_url(dispatch_id: str) -> str:
    """The path of a dispatch's page."""
    return f"/dispatches/{quote(dispatch_id, safe='')}"


def channel_name(path: str) -> str:
    """The name in a path, decoded already.

    Raises:
        NotFound: no channel can have it.
    """
    if "\0" in path:
        raise NotFound("No channel has this name.")
    return path.strip()


def cursor(name: str, text: str | None) -> int | None:
    """The id or sequence number in a query; None where there is none.

    Raises:
        BadRequest: it is not one.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"{name} must be a whole number", field=name)
    return int(text)
