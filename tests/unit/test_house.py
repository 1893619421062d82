"""The rules of the house that a program can check."""

import ast
import json
import re
import statistics
from pathlib import Path

import pytest

import app
from tests.support.parts import CHECKOUT

MODULES = sorted((CHECKOUT / "app").rglob("*.py"))
SOURCES = [path for path in MODULES if path.name != "__init__.py"]
GENERATED = {"node_modules", "__pycache__", "build", "dist"}

# Written in pieces, so that this file passes its own test.
REGISTRIES = [
    host.replace("|", "")
    for host in (
        "pypi.|org",
        "pythonhosted.|org",
        "registry.npmjs.|org",
        "npmjs.|com",
        "yarnpkg.|com",
        "deb.debian.|org",
    )
]
LOADS = re.compile(
    r"""(?:\b(?:src|href|action|poster|data|srcset)\s*=\s*["']?|url\(\s*["']?|@import\s+["']?|\bfrom\s+["']|import\(["'])\s*(?:https?:)?//""",
    re.IGNORECASE,
)


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def text_files(*tops: str) -> list[Path]:
    """Every file of our own that can be read as text, whatever git knows of it."""
    files = []
    for path in sorted(path for top in tops for path in (CHECKOUT / top).rglob("*")):
        parts = path.relative_to(CHECKOUT).parts
        hidden = any(part.startswith(".") for part in parts) and parts[0] != ".ci"
        if path.is_file() and not hidden and not GENERATED.intersection(parts):
            files.append(path)
    return files


def own_files() -> list[Path]:
    tops = ("app", "docs", "scripts", "static", "templates", "tests", ".ci")
    return text_files(*tops) + [path for path in CHECKOUT.iterdir() if path.is_file()]


def read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_at_most_300_lines(path: Path) -> None:
    assert lines(path) <= 300


def test_half_of_the_modules_have_at_most_160_lines() -> None:
    assert statistics.median(map(lines, SOURCES)) <= 160


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


def test_no_file_names_a_package_registry() -> None:
    named = [
        f"{name_of(path)}: {host}"
        for path in own_files()
        for text in [read(path)]
        for host in REGISTRIES
        if host in text
    ]

    assert named == []


@pytest.mark.parametrize("path", text_files("templates", "static"), ids=name_of)
def test_a_page_loads_nothing_from_elsewhere(path: Path) -> None:
    foreign = [line.strip() for line in read(path).splitlines() if LOADS.search(line)]

    assert foreign == []


@pytest.mark.parametrize(
    ("line", "is_foreign"),
    [
        ('<script src="https://cdn.example/x.js">', True),
        ("<link href=//cdn.example/x.css>", True),
        ("background: url('http://cdn.example/x.png')", True),
        ('@import "https://cdn.example/x.css";', True),
        ('import { x } from "https://cdn.example/x.js";', True),
        ('<script src="/static/js/live.js">', False),
        ("background: url(/static/x.svg)", False),
        ("// see https://example.com for why", False),
    ],
)
def test_a_load_from_elsewhere_is_told_from_a_harmless_line(line: str, is_foreign: bool) -> None:
    assert bool(LOADS.search(line)) is is_foreign


def test_the_changelog_has_an_entry_for_this_version() -> None:
    changelog = (CHECKOUT / "CHANGELOG.md").read_text("utf-8")

    assert re.search(rf"^## \[?{re.escape(app.__version__)}\]?", changelog, re.MULTILINE)


def test_the_locks_pin_hashes_and_name_no_address() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        text = (CHECKOUT / name).read_text("utf-8")
        pins = re.findall(r"^[\w.\[\]-]+==.*(?:\n +--hash=sha256:[0-9a-f]{64}.*)+", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^\S+==", text, re.MULTILINE))
        assert "://" not in text
        assert "--index-url" not in text
        assert "--find-links" not in text
    packages = json.loads((CHECKOUT / "tests/npm/package-lock.json").read_text("utf-8"))["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
    assert not any("resolved" in package for package in packages.values())


def test_the_runtime_of_the_tests_is_the_runtime_of_users() -> None:
    runtime, testing = (
        set(re.findall(r"^(\S+==\S+)", (CHECKOUT / name).read_text("utf-8"), re.MULTILINE))
        for name in ("requirements.txt", "requirements-test.txt")
    )

    assert runtime <= testing
