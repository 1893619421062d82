"""Every route of the hub as it is built, so that tests of all of them also cover those to come."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.routing import Mount

from app.main import create_app
from app.settings import Settings

PROGRAMS = ("/api/", "/mcp", "/openapi.json", "/healthz")
"""Where programs come in; everything else is pages."""
_PARAMETER = re.compile(r"{[^}]*}")
_SAMPLE = "x"


def every_route() -> list[tuple[str, str]]:
    """Method and path of all routes, with something in the place of their parameters."""
    return sorted(set(_routes(create_app(Settings()).routes)))


def paths() -> list[str]:
    return sorted({path for _, path in every_route()})


def forms() -> list[str]:
    """The paths of pages that take forms."""
    return [path for method, path in every_route() if method == "POST" and not path.startswith(PROGRAMS)]


def _routes(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield "GET", f"{route.path}/{_SAMPLE}"
        elif hasattr(route, "path"):
            for method in route.methods or ("GET", "POST", "DELETE"):
                yield method, _PARAMETER.sub(_SAMPLE, route.path)
        else:
            yield from _routes(route.original_router.routes)
