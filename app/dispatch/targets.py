"""Which thread a request means: trusted projects, their threads, and the order in which selectors decide."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from app.codex import projects
from app.codex.client import CodexClient
from app.codex.limits import Limits
from app.codex.pool import Pool
from app.codex.projects import Project
from app.codex.protocol import Thread as CodexThread
from app.dispatch.policy import Policies
from app.errors import AppServerUnavailable, HubError, ProjectUntrusted, TargetAmbiguous, ThreadNotFound
from app.models import Dispatch, DispatchRequest, Thread
from app.settings import Settings
from app.storage import threads
from app.storage.database import Database

MATCHES_SHOWN = 5
TRUST_SEC = 1.0
"""So many requests and turns in a row cost one question."""


@dataclass(frozen=True)
class Target:
    """A thread to send to, and how it was found."""

    project: Project
    thread_id: str
    thread_name: str
    resolution: str = "by_thread_id"
    created: bool = False
    created_at: float = 0.0
    warning: str | None = None


@dataclass(frozen=True)
class ThreadRow:
    """A thread as lists show it: what Codex says and what the hub remembers. Times are unix seconds."""

    thread_id: str
    name: str
    status: str
    project_id: str
    cwd: str
    last_activity_at: float | None
    remembered: Thread | None

    @property
    def newest(self) -> float:
        known = self.remembered
        return self.last_activity_at or (known.last_used_at if known else 0.0)

    def matches(self, query: str) -> bool:
        return query.strip().lower() in f"{self.thread_id} {self.name} {self.status}".lower()


class Targets:
    """Finds threads and makes them. Whom Codex trusts is asked anew all the time: the user may withdraw it."""

    def __init__(self, settings: Settings, database: Database, pool: Pool) -> None:
        self._policies = Policies(settings)
        self._database = database
        self._pool = pool
        self._home = str(settings.codex_home)
        self._trusted: list[Project] = []
        self._asked: CodexClient | None = None
        self._asked_at = 0.0

    async def projects(self) -> list[Project]:
        """The trusted projects, as Codex has them now."""
        client = await self._pool.client()
        # In a thread: it looks at folders, and some may lie on a network.
        self._trusted = await asyncio.to_thread(projects.trusted_projects, await client.config())
        self._asked, self._asked_at = client, time.monotonic()
        return self._trusted

    async def project(self, project_id: str) -> Project:
        """The trusted project of this id, in any spelling of its path.

        Raises:
            ProjectUntrusted: Codex does not trust it, or does not know it.
        """
        project = await self._trusted_one(lambda known: projects.find_project(known, project_id))
        if project is None:
            raise ProjectUntrusted(
                f"Unknown or untrusted project: {project_id}. Open it once in Codex and trust it, or "
                "take a projectId from relay_list_projects. A symbolic link is none: name the folder itself.",
                projectId=project_id,
            )
        return project

    async def threads(self, project: Project, query: str = "") -> list[ThreadRow]:
        """Threads of a project, newest first: listed by Codex, or remembered by the hub and still there."""
        client = await self._pool.client()
        listed = [thread for thread in await client.threads(project.path) if projects.belongs(thread, project)]
        remembered = {
            thread.thread_id: thread
            for thread in await self._database.read(threads.of_project, self._home, project.project_id)
        }
        rows = [_row(thread, project, remembered.pop(thread.id, None)) for thread in listed]
        rows += [
            _row(found, project, thread)
            for thread in remembered.values()
            if (found := await self._probe(client, thread))
        ]
        rows.sort(key=lambda row: row.newest, reverse=True)
        return [row for row in rows if row.matches(query)]

    async def by_id(self, thread_id: str) -> Target:
        """The thread of this id, whatever trusted project it is in.

        Raises:
            ThreadNotFound: Codex does not have it.
            ProjectUntrusted: its folder is not trusted.
        """
        client = await self._pool.client()
        thread = await client.thread(thread_id)
        project = await self._trusted_one(
            lambda known: next((each for each in known if projects.belongs(thread, each)), None)
        )
        if project is not None:
            return Target(project, thread.id, _name(thread))
        raise ProjectUntrusted(f"Thread {thread_id} does not belong to a trusted Codex project.", threadId=thread_id)

    async def resolve(self, request: DispatchRequest) -> Target:
        """The thread that a request means. The first selector that is given and decides wins:
        id, exact name, query, and last a new thread.

        Raises:
            ProjectUntrusted, ThreadNotFound, TargetAmbiguous: with what to change in `details`.
        """
        if request.project_id is None:
            return await self.by_id(request.thread_id or "")
        project = await self.project(request.project_id)
        if request.thread_id:
            return await self._in_project(project, request.thread_id)
        if request.thread_name or request.query:
            rows = await self.threads(project)
            if name := request.thread_name:
                named = [row for row in rows if row.name == name]
                if row := _only(named, f'Multiple threads share the exact name "{name}".', threadName=name):
                    return Target(project, row.thread_id, row.name, "by_exact_name")
            if query := request.query:
                hits = [row for row in rows if row.matches(query)]
                if row := _only(hits, f'Multiple threads matched query "{query}".', query=query):
                    return Target(project, row.thread_id, row.name, "by_query_match")
        if request.create_if_missing:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            name = request.thread_name or f"relay dispatch {stamp.replace(':', '-').replace('.', '-')}"
            return await self.create(project, name)
        raise ThreadNotFound(
            "No matching thread could be resolved for dispatch.",
            threadId=request.thread_id,
            threadName=request.thread_name,
            query=request.query,
        )

    async def open(self, client: CodexClient, dispatch: Dispatch, limits: Limits) -> CodexThread:
        """Load the thread of a dispatch and hold it.

        Raises:
            ProjectUntrusted: while the dispatch waited trust was withdrawn, or the thread has moved to another folder.
        """
        project = await self.project(dispatch.project_id)
        thread = await client.resume(dispatch.thread_id, limits)
        if not projects.belongs(thread, project):
            with suppress(HubError):
                await client.unsubscribe(thread.id)
            raise ProjectUntrusted(
                f"Thread {thread.id} works in {thread.cwd} now, no longer in {project.path}.", threadId=thread.id
            )
        return thread

    async def create(self, project: Project, name: str | None) -> Target:
        """Make a thread in a project that is trusted, and let go of it so that anybody may open it.

        One that cannot be named is made all the same; `warning` says so.
        """
        client = await self._pool.client()
        thread = await client.start_thread(project.path, self._policies.of(project.path).limits)
        warning = None
        shown = thread.name or thread.id
        try:
            # Named at once: a thread without a name and without a turn is gone with its app-server.
            await client.name_thread(thread.id, name or thread.id)
        except AppServerUnavailable:
            raise  # with it the thread is gone
        except HubError as error:
            # Held until its first turn has ended: let go of before, it would be gone at once.
            warning = f"Thread created but rename failed: {error.message}"
        else:
            shown = name or shown
            await client.unsubscribe(thread.id)
        await self._database.write(
            threads.remember,
            home=self._home,
            thread_id=thread.id,
            project_id=project.project_id,
            name=shown,
            made_here=True,
        )
        made_at = thread.created_at or time.time()
        return Target(project, thread.id, shown, "created_new", True, made_at, warning)

    async def _trusted_one(self, among: Callable[[list[Project]], Project | None]) -> Project | None:
        """The project that is wanted, if Codex trusts it.

        What Codex said a moment ago still counts, but not for a no: who has just trusted a project would wonder.
        """
        client = await self._pool.client()
        is_recent = self._asked == client and time.monotonic() - self._asked_at <= TRUST_SEC
        return (among(self._trusted) if is_recent else None) or among(await self.projects())

    async def _in_project(self, project: Project, thread_id: str) -> Target:
        client = await self._pool.client()
        thread = await client.thread(thread_id)
        if not projects.belongs(thread, project):
            raise ThreadNotFound(f"Thread not found: {thread_id}", threadId=thread_id)
        return Target(project, thread.id, _name(thread))

    async def _probe(self, client: CodexClient, thread: Thread) -> CodexThread | None:
        """A remembered thread as Codex has it. Only "there is no such thread" makes the hub forget it."""
        try:
            return await client.thread(thread.thread_id)
        except ThreadNotFound:
            await self._database.write(threads.forget, self._home, thread.thread_id)
            return None
        except HubError:
            return CodexThread(thread.thread_id, thread.name, "", thread.project_id, "unknown", None, None)


def _name(thread: CodexThread) -> str:
    return thread.name or thread.preview or thread.id


def _row(thread: CodexThread, project: Project, remembered: Thread | None) -> ThreadRow:
    return ThreadRow(
        thread.id,
        _name(thread),
        thread.status,
        project.project_id,
        thread.cwd,
        thread.updated_at or (remembered.last_used_at if remembered else None),
        remembered,
    )


def _only(rows: list[ThreadRow], ambiguous: str, **selector: str) -> ThreadRow | None:
    """The one row, if there is one.

    Raises:
        TargetAmbiguous: there are more.
    """
    if len(rows) > 1:
        matches = [{"threadId": row.thread_id, "name": row.name} for row in rows[:MATCHES_SHOWN]]
        raise TargetAmbiguous(ambiguous, **selector, matches=matches)
    return rows[0] if rows else None
