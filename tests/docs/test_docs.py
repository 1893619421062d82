"""The documents say what the code does: names, defaults, states, links and commands."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from starlette.routing import Match

from app.__main__ import main as command
from app.config import load
from app.dispatch.recovery import Suggestion
from app.errors import ErrorCode, HubError
from app.main import create_app
from app.models import TRANSITIONS, ApprovalStatus, CallbackStatus, Dispatch
from app.schemas import AcceptedOut, DispatchOut, MessageOut
from app.settings import ENV_PREFIX, Settings
from app.tools import catalog
from app.tools.tool import Tool
from tests.support.parts import CHECKOUT

DOCS = sorted((CHECKOUT / "docs").rglob("*.md"))
PAGES = [*sorted(CHECKOUT.glob("*.md")), *DOCS]
ONLY_HTTP = {
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.HOST_NOT_ALLOWED: 421,
    ErrorCode.ORIGIN_NOT_ALLOWED: 403,
}
"""Codes that belong to no class: the outermost layer answers with them."""
OWN_PLACES = {"data_dir", "log_path", "channel_log_path"}
"""Settings that the example spells as relative paths."""


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def text_of(name: str) -> str:
    return (CHECKOUT / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.partition(" ")[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {heading!r}"
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """The rows of all tables by the code in their first cell; the cells without code marks."""
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `") and len(cells) > 1:
            for name in re.findall(r"`([^`]+)`", cells[0]):
                rows[name] = [cell.replace("`", "") for cell in cells[1:]]
    return rows


def reference(heading: str) -> str:
    return section(text_of("docs/reference.md"), heading)


def error_kinds(kind: type[HubError] = HubError) -> Iterator[type[HubError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from error_kinds(below)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The whole app, built and never started."""
    folder = tmp_path_factory.mktemp("docs") / "data"
    made = create_app(Settings(data_dir=folder))
    assert not folder.exists()
    return made


@pytest.fixture(scope="module")
def tools(app: FastAPI) -> list[Tool]:
    return catalog.tools(app.state.hub)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_documented_with_its_default_and_its_variables(name: str) -> None:
    field = Settings.model_fields[name]
    default, variable, aliases, meaning = table(reference("## Settings"))[name]

    assert variable == f"{ENV_PREFIX}{name.upper()}"
    assert re.findall(r"\w+", aliases) == list(aliases_of(field))
    assert meaning.replace("`", "") == (field.description or "").replace("`", "")
    if field.default_factory is None:
        assert default == shown(field.default)
    else:
        assert default not in ("", "–")


def aliases_of(field: FieldInfo) -> tuple[str, ...]:
    extra = field.json_schema_extra
    aliases = extra.get("aliases", ()) if isinstance(extra, dict) else ()
    return tuple(str(alias) for alias in aliases) if isinstance(aliases, list | tuple) else ()


def shown(default: Any) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return text or "empty"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    assert set(table(reference("## Settings"))) == set(Settings.model_fields)


def test_every_tool_is_documented_and_no_other(tools: list[Tool]) -> None:
    headings = re.findall(r"^### `(\w+)`$", reference("## MCP tools"), re.MULTILINE)

    assert headings == [tool.name for tool in tools]


def test_the_arguments_of_every_tool_are_documented(tools: list[Tool]) -> None:
    for tool in tools:
        rows = table(section(text_of("docs/reference.md"), f"### `{tool.name}`"))
        schema = tool.schema
        assert set(rows) == set(schema["properties"]), tool.name
        for name, argument in schema["properties"].items():
            kind, required, default, _ = rows[name]
            assert kind == argument["type"], (tool.name, name)
            assert (required == "yes") is (name in schema.get("required", [])), (tool.name, name)
            if "default" in argument:
                assert default == json.dumps(argument["default"]), (tool.name, name)


def test_every_route_of_the_openapi_document_is_documented(app: FastAPI) -> None:
    rows = table(reference("## HTTP routes"))
    routes = {
        f"{method.upper()} {path}": operation
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }

    assert routes.keys() <= rows.keys()
    for route, operation in routes.items():
        status, text = rows[route]
        assert status in operation["responses"], route
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "query":
                assert re.search(rf"\b{parameter['name']}\b", text), (route, parameter["name"])


def test_every_documented_route_exists(app: FastAPI) -> None:
    for row in table(reference("## HTTP routes")):
        method, _, path = row.rpartition(" ")
        if not path.startswith("/"):
            continue
        path = path.partition("?")[0].replace("{", "").replace("}", "")
        scope = {"type": "http", "method": method or "GET", "path": path, "headers": []}
        matches = [route.matches(scope)[0] for route in app.routes]
        assert Match.FULL in matches, row


@pytest.mark.parametrize(
    ("heading", "shape"), [("### Message", MessageOut), ("### Receipt", AcceptedOut), ("### Dispatch", DispatchOut)]
)
def test_every_field_of_an_answer_is_documented(heading: str, shape: type[BaseModel]) -> None:
    names = {field.serialization_alias or field.alias or name for name, field in shape.model_fields.items()}

    assert set(table(reference(heading))) == names


@pytest.mark.parametrize("code", ErrorCode)
def test_an_error_code_is_documented_with_its_status(code: ErrorCode) -> None:
    status, retryable, _ = table(reference("## Errors"))[code.value]
    kinds = [kind for kind in error_kinds() if kind.code is code]

    if code in ONLY_HTTP:
        assert (int(status), retryable) == (ONLY_HTTP[code], "–")
    else:
        assert {(kind.http_status, kind.retryable) for kind in kinds} == {
            (int(status), answer) for answer in {"yes": [True], "no": [False], "sometimes": [False, True]}[retryable]
        }


def test_no_error_code_is_documented_that_does_not_exist() -> None:
    assert set(table(reference("## Errors"))) == {code.value for code in ErrorCode}


def drawings(text: str) -> list[set[tuple[str, str]]]:
    """The arrows of each state diagram."""
    blocks = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    return [set(re.findall(r"^\s*(\S+) --> ([^\s:]+)", block, re.MULTILINE)) for block in blocks]


def test_the_drawing_of_a_dispatch_is_the_table_of_transitions() -> None:
    drawn = drawings(text_of("docs/lifecycle.md"))[0]
    start = Dispatch.model_fields["status"].default.value
    expected = {(source.value, target.value) for source, targets in TRANSITIONS.items() for target in targets}
    expected |= {("[*]", start)} | {(status.value, "[*]") for status, targets in TRANSITIONS.items() if not targets}

    assert drawn == expected


def test_the_drawing_of_a_callback_shows_every_state() -> None:
    drawn = drawings(text_of("docs/lifecycle.md"))[1]

    assert {state for arrow in drawn for state in arrow} - {"[*]"} == {status.value for status in CallbackStatus}


def test_the_drawing_of_an_approval_shows_every_state() -> None:
    drawn = drawings(text_of("docs/lifecycle.md"))[2]

    assert {state for arrow in drawn for state in arrow} - {"[*]"} == {status.value for status in ApprovalStatus}


def test_every_suggestion_is_documented() -> None:
    text = section(text_of("docs/lifecycle.md"), "## `recoverySuggested`")

    suggested = re.findall(r"\| `(\w+)` \|$", text, re.MULTILINE)
    assert suggested[1:] == [suggestion.value for suggestion in Suggestion], "the first one is the head of the table"


def test_the_example_of_the_settings_file_holds_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    example = CHECKOUT / "config.json.example"
    loaded = load(environ={}, config=example)
    given = json.loads(example.read_text("utf-8"))

    assert loaded.warnings == ()
    assert set(loaded.sources) == set(given)
    settings, defaults = loaded.settings.model_dump(), Settings().model_dump()
    assert {name: settings[name] for name in given.keys() - OWN_PLACES} == {
        name: defaults[name] for name in given.keys() - OWN_PLACES
    }
    assert settings["data_dir"] == CHECKOUT / "data"
    # The default of a checkout, so that copying the example moves nothing.
    assert {name: settings[name] for name in ("log_path", "channel_log_path")} == {
        name: defaults[name] for name in ("log_path", "channel_log_path")
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_resolve(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page.read_text("utf-8"))):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


def prose(text: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_lines(page: Path) -> list[str]:
    """The commands of a page's shell blocks, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist(page: Path, app: FastAPI, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {re.sub(r"\{.*?\}", "", path) for path in app.openapi()["paths"]}
    for line in shell_lines(page):
        for script in re.findall(r"\bscripts/[\w.-]+", line):
            assert (CHECKOUT / script).is_file(), line
        if hub := re.search(r"(?:\brelay-hub (?P<name>\w+)|\bscripts/run)(?P<rest>.*)", line):
            flags = re.findall(r" (--[\w-]+)", hub["rest"])
            assert set(flags) <= options(hub["name"] or "serve", capsys), line
        for address in re.findall(r"/(?:api|mcp)[\w/]*", line):
            assert any(address.rstrip("/") == path.rstrip("/") or address.startswith(f"{path.rstrip('/')}/")
                       for path in paths), line  # fmt: skip


def options(name: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit) as ended:
        command([name, "--help"])
    assert ended.value.code == 0
    return set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_every_flag_is_a_setting_or_documented(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    documented = {name.split()[0] for name in table(reference("## Commands")) if name.startswith("--")}

    for name in ("serve", "config", "import"):
        assert options(name, capsys) - settings <= documented


def test_every_decision_is_listed() -> None:
    index = text_of("docs/adr/README.md")
    decisions = sorted(path.name for path in (CHECKOUT / "docs" / "adr").glob("0*.md"))

    assert re.findall(r"\]\((0\S+\.md)\)", index) == decisions
    for name in decisions:
        headings = re.findall(r"^## (.+)$", text_of(f"docs/adr/{name}"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Alternatives"], name


def test_the_names_of_the_commands_are_those_of_the_package() -> None:
    scripts = tomllib.loads(text_of("pyproject.toml"))["project"]["scripts"]

    assert all(f"`{name} " in reference("## Commands") for name in scripts)
