"""`relay-hub token`, run beside a hub of the tests."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.support.hub import HubProcess, Hubs
from tests.support.processes import Finished, run


def token_command(hub: HubProcess, *arguments: str) -> Finished:
    """The command with the settings of a hub."""
    return run([sys.executable, "-m", "app", "token", *arguments], cwd=hub.folder, environ=hub.environ)


def token_of(hub: HubProcess, *arguments: str) -> str:
    """What a command that succeeds prints: a token and nothing else."""
    finished = token_command(hub, *arguments)
    assert finished.returncode == 0, finished.stderr
    (token,) = finished.stdout.splitlines()
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class ClosedHub:
    """A hub that wants to know who comes, and the tokens of those who may, by name."""

    def __init__(self, hub: HubProcess, tokens: Mapping[str, Sequence[str]]) -> None:
        """`tokens` are names with the flags of `relay-hub token create`."""
        self.hub = hub
        with ThreadPoolExecutor(3) as pool:
            made = pool.map(lambda name: token_of(hub, "create", name, *tokens[name]), tokens)
            self.tokens = dict(zip(tokens, made, strict=True))

    def headers(self, name: str) -> dict[str, str]:
        return bearer(self.tokens[name])


@contextmanager
def closed_hub(**tokens: Sequence[str]) -> Iterator[ClosedHub]:
    """A hub and its tokens for the length of a block."""
    hubs = Hubs()
    try:
        yield ClosedHub(hubs(), tokens)
    finally:
        hubs.end()
