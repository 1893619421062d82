"""Projects: the folders that Codex trusts, and when two spellings of a path mean the same one.

A path that looks like Windows (drive letter, UNC, extended prefix) follows the rules of Windows on
every platform; every other path is POSIX and keeps its case.
"""

import ntpath
import os
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.codex.protocol import Thread

_WINDOWS = re.compile(r"[A-Za-z]:(?=[\\/]|$)|\\\\|//\?/")


@dataclass(frozen=True, slots=True)
class Project:
    """A trusted folder; its id is its normalised path."""

    project_id: str
    path: str
    path_key: str
    name: str

    def as_json(self) -> dict[str, Any]:
        return {
            "projectId": self.project_id,
            "path": self.path,
            "pathKey": self.path_key,
            "name": self.name,
            "trusted": True,
            "trustLevel": "trusted",
        }


def normalise(path: str) -> str:
    """The spelling to show: separators, `.` and `..` in order, no trailing separator.
    A blank path stays empty."""
    path = path.strip()
    if not path:
        return ""
    if not _WINDOWS.match(path):
        # POSIX lets two leading slashes mean something else; nothing that Codex runs on uses that.
        return posixpath.normpath(re.sub(r"^/+", "/", path))
    path = path.replace("/", "\\")
    if path.startswith("\\\\?\\UNC\\"):
        path = "\\\\" + path.removeprefix("\\\\?\\UNC\\")
    path = ntpath.normpath(path.removeprefix("\\\\?\\"))
    return path if re.fullmatch(r"[A-Za-z]:\\", path) else path.rstrip("\\")


def path_key(path: str) -> str:
    """What to compare paths by."""
    path = normalise(path)
    return path.lower() if _WINDOWS.match(path) else path


def trusted_projects(config: dict[str, Any]) -> list[Project]:
    """The trusted projects of Codex's configuration, by name; of two spellings the first one.

    A path that leads elsewhere by a symbolic link is none: whoever may change the link would say what is trusted.
    """
    entries = config.get("projects")
    projects: dict[str, Project] = {}
    for path, entry in entries.items() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and entry.get("trust_level") == "trusted" and _is_real(path):
            project = project_at(path)
            projects.setdefault(project.path_key, project)
    return sorted(projects.values(), key=lambda project: (project.name.casefold(), project.path_key))


def _is_real(path: str) -> bool:
    """Whether a path names a folder fully, as it is, and by no symbolic link. Asks the file system."""
    if path != path.strip() or "\0" in path:
        return False  # it is shown without its blanks, which would be another folder
    if Path(path).is_absolute():
        return path_key(os.path.realpath(path)) == path_key(path)
    return _WINDOWS.match(path) is not None


def find_project(projects: Iterable[Project], project_id: str) -> Project | None:
    """The project with this id, in any spelling."""
    key = path_key(project_id)
    return next((project for project in projects if project.path_key == key), None)


def belongs(thread: Thread, project: Project) -> bool:
    """Whether the thread works in this very folder; a folder below is another one."""
    return path_key(thread.cwd) == project.path_key


def project_at(path: str) -> Project:
    """The project of a folder, whether trusted or not."""
    path = normalise(path)
    parts = ntpath if _WINDOWS.match(path) else posixpath
    name = parts.basename(path) or path
    return Project(path, path, path_key(path), name)
