"""App-servers that nobody needs any more: those of earlier starts or other settings, and our own at the stop."""

import asyncio
import logging
from pathlib import Path

from app.codex.address import sockets
from app.codex.client import CodexClient
from app.codex.detached import NOBODY_LISTENS, DetachedAppServer, end_process
from app.errors import HubError, ThreadNotFound
from app.settings import Settings

logger = logging.getLogger("relay_hub.codex")

LOOK_SEC = 3.0
"""For everything that is asked of one app-server."""
PAUSE_SEC = 0.02
LETS_GO = "0.163"
"""Before this version Codex keeps a thread loaded for half an hour after everybody has let go of it."""


async def end_idle(settings: Settings, but: Path | None = None, own: Path | None = None) -> None:
    """End every app-server of this data folder that has no thread loaded, and the one at `own`, but not the
    one at `but`; remove the sockets of dead ones. It takes some ten seconds at most."""
    paths = {*sockets(settings), *([own] if own else [])} - {but}
    await asyncio.gather(*(_end_if_idle(path, settings) for path in paths))


async def _end_if_idle(path: Path, settings: Settings) -> None:
    try:
        server = await _reach(path, settings)
        if server is None:
            return
        if await _is_idle(server, settings):
            await end_process(server.pid)
            if left := await _reach(path, settings):
                await left.aclose()
        else:
            logger.info(
                "codex app-server, pid %d, goes on with its work; a hub that starts with its settings takes it up",
                server.pid,
            )
    except (HubError, OSError, TimeoutError) as error:
        logger.warning("the codex app-server at %s is left alone: %s", path, error)


async def _reach(path: Path, settings: Settings) -> DetachedAppServer | None:
    """A connection; without anybody who listens, the socket is removed."""
    try:
        return await DetachedAppServer.attach(path, settings)
    except NOBODY_LISTENS:
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - quick
        return None


async def _is_idle(server: DetachedAppServer, settings: Settings) -> bool:
    """Whether no turn runs and nobody holds a thread. A thread that was let go is unloaded within
    milliseconds."""
    client = CodexClient(server, settings)
    try:
        async with asyncio.timeout(LOOK_SEC):
            await client.initialize()
            while loaded := await client.loaded():
                if await _any_active(client, loaded):
                    return False
                if client.version < LETS_GO:
                    return True
                await asyncio.sleep(PAUSE_SEC)
        return True
    except TimeoutError:
        return False
    finally:
        await client.aclose()


async def _any_active(client: CodexClient, thread_ids: list[str]) -> bool:
    for thread_id in thread_ids:
        try:
            if (await client.thread(thread_id)).status == "active":
                return True
        except ThreadNotFound:
            # Unloaded since; it is not in the next list.
            continue
    return False
