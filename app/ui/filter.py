"""Which dispatches the list shows."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from app.errors import BadRequest
from app.models import DispatchStatus

RECENT_DISPATCHES = 50
"""As many as stand on a page."""


class Filter(NamedTuple):
    """What is asked of a dispatch; empty texts ask nothing."""

    status: str = ""
    project: str = ""
    thread: str = ""

    @property
    def conditions(self) -> dict[str, Any]:
        """The same for a query of the storage."""
        status = DispatchStatus(self.status) if self.status else None
        return {"status": status, "project_id": self.project or None, "thread_id": self.thread or None}

    def url(self, path: str = "/dispatches", **changed: Any) -> str:
        """The address of a list with these conditions and `changed`; `before` pages."""
        query = {name: value for name, value in (self._asdict() | changed).items() if value}
        return f"{path}?{urlencode(query)}" if query else path


def chosen(query: Mapping[str, str]) -> Filter:
    """The filter that a query asks for.

    Raises:
        BadRequest: there is no such status.
    """
    wanted = Filter(*(query.get(name, "").replace("\0", "").strip() for name in Filter._fields))
    if wanted.status not in ("", *DispatchStatus):
        raise BadRequest(f"status must be one of: {', '.join(DispatchStatus)}", field="status")
    # As paths are stored: without a separator at their end.
    return wanted._replace(project=wanted.project.rstrip("/") or wanted.project)
