"""Every setting in one table: name, default, help, and the names that the seeds gave it."""

import json
import platform
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no name of a channel or a sender may hold: it could forge a line, or drive a terminal, wherever it is shown."""
ENV_PREFIX = "RELAY_HUB_"
ROOT = Path(__file__).resolve().parent.parent
"""The checkout's top folder; in an installed wheel, the folder that holds the package."""


def _split(value: Any) -> Any:
    """A comma string as a list; every entry stripped, empty ones dropped."""
    entries = value.split(",") if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        return entries
    stripped = (entry.strip() if isinstance(entry, str) else entry for entry in entries)
    return tuple(entry for entry in stripped if entry != "")


def _arguments(value: Any) -> Any:
    """A JSON array of strings, or words as a shell would split them."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return tuple(shlex.split(value))


def _object(value: Any) -> Any:
    """A JSON object, where the settings come as texts."""
    if not isinstance(value, str):
        return value
    return json.loads(value) if value.strip() else {}


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Arguments = Annotated[tuple[str, ...], BeforeValidator(_arguments)]
Sandbox = Literal["read-only", "workspace-write", "danger-full-access"]
Approval = Literal["untrusted", "on-request", "never"]
"""When Codex asks before it runs something: always but for what is known to be harmless, when it wants to leave its
sandbox, or never; then it just may not."""


def _log_folder(settings: dict[str, Any]) -> Path:
    """In a checkout its own folder log/, elsewhere one beside the data."""
    return Path(ROOT if (ROOT / "pyproject.toml").is_file() else settings.get("data_dir", ".")) / "log"


def _data_dir() -> Path:
    return platformdirs.user_data_path("relay-hub", appauthor=False)


def _aliases(*names: str) -> dict[str, Any]:
    return {"aliases": names}


class ProjectPolicy(BaseModel):
    """What holds for the turns of one project, where it differs from the rest of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sandbox: Sandbox | None = None
    approval: Approval | None = None
    allow: Names = ()
    deny: Names = ()


class Settings(BaseModel):
    """All settings, validated. Times are in the unit that the name ends with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on.",
        json_schema_extra=_aliases("CLAUDE_CODEX_HOST"),
    )
    port: int = Field(
        8010,
        ge=0,
        le=65535,
        description="Port to listen on; 0 takes a free one.",
        json_schema_extra=_aliases("CLAUDE_CODEX_PORT"),
    )
    allowed_hosts: Names = Field(
        (),
        description="Host names, with or without port, that may reach the hub besides loopback.",
        json_schema_extra=_aliases("CLAUDE_CODEX_ALLOWED_HOSTS"),
    )
    node: str = Field(
        default_factory=lambda: platform.node() or "hub",
        description="Name of this hub among hubs on one database.",
    )
    data_dir: Path = Field(default_factory=_data_dir, description="Folder of the database and of sockets.")
    database_url: str = Field(
        "",
        description="postgresql+psycopg://… when hubs share one; empty: SQLite in data_dir.",
    )
    channels: Names = Field(
        ("proj-x", "codex", "claude"),
        description="Channels that exist from the start.",
        json_schema_extra=_aliases("CLAUDE_CODEX_CHANNELS"),
    )

    log_path: Path = Field(
        default_factory=lambda settings: _log_folder(settings) / "claude_codex.log",
        description="Activity log: what happened, never what was said.",
        json_schema_extra=_aliases("CLAUDE_CODEX_LOG_PATH"),
    )
    log_max_mb: int = Field(
        25,
        gt=0,
        description="Size at which the activity log rotates, in MiB.",
        json_schema_extra=_aliases("CLAUDE_CODEX_LOG_MAX_MB"),
    )
    log_max_bytes: int | None = Field(
        None,
        gt=0,
        description="The same in bytes; log_max_mb wins where both are set.",
        json_schema_extra=_aliases("CLAUDE_CODEX_LOG_MAX_BYTES"),
    )
    log_backup_count: int = Field(
        10,
        ge=0,
        description="Rotated activity logs to keep.",
        json_schema_extra=_aliases("CLAUDE_CODEX_LOG_BACKUP_COUNT"),
    )
    channel_log_path: Path = Field(
        default_factory=lambda settings: _log_folder(settings) / "channel_messages.log",
        description="Archive of every message, with its text.",
        json_schema_extra=_aliases("CLAUDE_CODEX_CHANNEL_LOG_PATH"),
    )
    channel_log_max_mb: int = Field(
        25,
        gt=0,
        description="Size at which the archive rotates, in MiB.",
        json_schema_extra=_aliases("CLAUDE_CODEX_CHANNEL_LOG_MAX_MB"),
    )
    channel_log_max_bytes: int | None = Field(
        None,
        gt=0,
        description="The same in bytes; channel_log_max_mb wins where both are set.",
        json_schema_extra=_aliases("CLAUDE_CODEX_CHANNEL_LOG_MAX_BYTES"),
    )
    channel_log_backup_count: int = Field(
        10,
        ge=0,
        description="Rotated archives to keep.",
        json_schema_extra=_aliases("CLAUDE_CODEX_CHANNEL_LOG_BACKUP_COUNT"),
    )

    codex_command: str = Field(
        "codex",
        description="The Codex command; npm's wrapper is followed to the native program.",
        json_schema_extra=_aliases("THREAD_RELAY_CODEX_COMMAND"),
    )
    codex_args: Arguments = Field(
        (),
        description="Arguments instead of the ones that the hub builds; JSON array or words.",
        json_schema_extra=_aliases("THREAD_RELAY_CODEX_ARGS"),
    )
    codex_home: Path = Field(
        default_factory=lambda: Path.home() / ".codex",
        description="The Codex home that this hub serves.",
        json_schema_extra=_aliases("THREAD_RELAY_CODEX_HOME", "CODEX_HOME"),
    )
    codex_sandbox: Sandbox = Field("workspace-write", description="Sandbox of every turn that the hub starts.")
    codex_approval: Approval = Field("on-request", description="When Codex asks a human: untrusted, on-request, never.")
    codex_allow: Names = Field((), description="Commands that need no human, by their first words: git status.")
    codex_deny: Names = Field((), description="Commands that no human is asked for, by their first words: git push.")
    projects: Annotated[dict[str, ProjectPolicy], BeforeValidator(_object)] = Field(
        {}, description="By a project's path: sandbox, approval, allow and deny for its turns."
    )
    approval_timeout_sec: float = Field(300, gt=0, description="An approval that nobody answers in this time is a no.")
    codex_service_tier: str = Field("fast", description="Service tier asked of the model provider.")
    codex_allow_relay: bool = Field(False, description="Whether dispatched threads may use the hub's own MCP server.")
    codex_when_held: Literal["wait", "queue"] = Field(
        "wait",
        description="Async work for a thread that another Codex has open: wait, or leave it in that Codex's queue.",
    )
    codex_request_timeout_ms: int = Field(
        20_000,
        gt=0,
        description="Longest wait for one answer of the app-server.",
        json_schema_extra=_aliases("THREAD_RELAY_REQUEST_TIMEOUT_MS"),
    )
    turn_timeout_ms: int = Field(
        900_000,
        gt=0,
        description="Time limit of a turn when the caller names none.",
        json_schema_extra=_aliases("THREAD_RELAY_TURN_TIMEOUT_MS"),
    )
    envelope: str = Field(
        "",
        description="Text between the two fixed lines of a delegated request; empty: the hub's own.",
    )
    max_hops: int = Field(
        3, ge=0, le=100, description="How far dispatched turns may dispatch on, one through the other."
    )
    max_chain_per_minute: int = Field(
        20, ge=1, description="Dispatches in a minute that dispatched turns may ask for, counted from their first one."
    )
    max_chain_per_day: int = Field(200, ge=1, description="The same in 24 hours.")
    max_dispatches_per_minute: int = Field(0, ge=0, description="Dispatches that a hub takes in a minute; 0: any.")
    max_dispatches_per_day: int = Field(0, ge=0, description="Dispatches that a hub takes in 24 hours; 0: any.")
    keep_dispatches: int = Field(
        10_000, ge=1, description="Ended dispatches to keep; older ones are deleted, unfinished ones never."
    )
    webhook_secret: str = Field(
        "", description="Key with which requests to callbackUrl are signed; without it there are none."
    )
    webhook_allow_private: bool = Field(
        False, description="Whether callbackUrl may lead to loopback and private networks."
    )
    max_turns: int = Field(24, ge=1, le=1000, description="Turns that run at once on this hub.")
    lease_sec: float = Field(
        30, gt=0, description="Life of a lease; renewed at a third. A dead hub's work moves after."
    )
    mcp_max_wait_sec: float = Field(280, gt=0, description="Longest wait inside one MCP call; clients cut at 300.")
    max_body_bytes: int = Field(4 * 1024 * 1024, gt=0, description="Largest request body.")
    max_header_bytes: int = Field(64 * 1024, ge=1024, description="Largest head of a request.")
    slow_client_sec: float = Field(30, gt=0, description="A request that takes longer to arrive is cut off.")
    max_requests_per_minute: int = Field(600_000, ge=1, description="Requests of one caller in a minute.")
    max_streams: int = Field(2000, ge=1, description="Event streams and long polls at once.")
    max_mcp_sessions: int = Field(2000, ge=1, description="MCP sessions at once.")
    login_hours: float = Field(168, gt=0, description="How long a browser stays logged in.")
    max_text_chars: int = Field(1_000_000, gt=0, description="Longest message text.")
    max_name_chars: int = Field(200, gt=0, description="Longest channel or sender name.")
    debug: bool = Field(
        False,
        description="Print what the app-server says on standard error.",
        json_schema_extra=_aliases("THREAD_RELAY_DEBUG"),
    )

    @field_validator("channels")
    @classmethod
    def _can_be_posted_to(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if CONTROL.search(name):
                raise ValueError(f"{name!r} contains control characters")
        return names

    @field_validator("database_url")
    @classmethod
    def _can_be_opened(cls, url: str) -> str:
        # No text of ours repeats the URL: it may hold a password.
        if url and not url.startswith(("postgresql+psycopg://", "sqlite:///")):
            raise ValueError("must begin with postgresql+psycopg:// or sqlite:///")
        try:
            _ = urlsplit(url).port
        except ValueError:
            raise ValueError("host or port is malformed; in a password write %40 for @, %2F for /, %3A for :") from None
        return url

    @field_validator("data_dir", "codex_home", "log_path", "channel_log_path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'relay-hub.db'}"

    @property
    def log_bytes(self) -> int:
        return self._rotation("log_max_mb", self.log_max_mb, self.log_max_bytes)

    @property
    def channel_log_bytes(self) -> int:
        return self._rotation("channel_log_max_mb", self.channel_log_max_mb, self.channel_log_max_bytes)

    def _rotation(self, name: str, mebibytes: int, size: int | None) -> int:
        if size is not None and name not in self.model_fields_set:
            return size
        return mebibytes * 1024 * 1024
