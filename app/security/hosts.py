"""Host and Origin: which names may reach the hub, checked before anything else looks at a request.

A web page can make a browser send requests to loopback. Its own name then stands in `Origin`; after DNS rebinding it
stands in `Host`. So both are checked, on every route, redirects and errors included.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")

KEPT = 256
MOST_CHARS = 256
"""Of a header that is looked at and shown; none that is longer names a host."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://([^/?#]+)")
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Authority:
    """A host and, where given, its port."""

    name: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> "Authority | None":
        """None for whatever is not exactly a host with an optional numeric port."""
        match = _AUTHORITY.fullmatch(text.lower())
        if match is None:
            return None
        port = match["port"]
        return cls(match["name"], int(port) if port else None)


class HostPolicy:
    """Loopback under any port, and the hosts of the setting `allowed_hosts`."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed: set[tuple[str, int | None]] = {(name, None) for name in LOOPBACK_NAMES}
        # The same few values come with every request.
        self.admits_host = lru_cache(KEPT)(self._admits_host)
        self.admits_origin = lru_cache(KEPT)(self._admits_origin)
        for entry in allowed:
            # "name:*" is how the seed wrote "any port".
            parsed = Authority.parse(entry.removesuffix(":*"))
            if parsed is not None:
                self._allowed.add((parsed.name, parsed.port))

    def _admits_host(self, header: str) -> bool:
        host = Authority.parse(header)
        return host is not None and self._named(host)

    def _admits_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is the hub's own page, or one whose host the user has allowed by name.

        Another port of loopback is another program: its pages are as foreign as any.
        """
        parts = _ORIGIN.fullmatch(origin)
        if parts is None:
            return False
        page, here = Authority.parse(parts[2]), Authority.parse(host)
        if page is None or here is None:
            return False
        default = _DEFAULT_PORTS[parts[1]]
        if (page.name, page.port or default) == (here.name, here.port or default):
            return True
        if page.name in LOOPBACK_NAMES:
            return page.port is not None and (page.name, page.port) in self._allowed
        return self._named(page)

    def _named(self, host: Authority) -> bool:
        return (host.name, None) in self._allowed or (host.name, host.port) in self._allowed
