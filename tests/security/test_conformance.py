"""MCP as its own conformance suite reads it: our hub as it is, and all of the protocol through our endpoint."""

import re
import sys
from pathlib import Path

import pytest

from tests.support.conformance import REVISIONS, Conformance
from tests.support.hub import HubProcess, Hubs
from tests.support.parts import find_program

REQUIRED = {"2025-11-25": 30, "2026-07-28": 37}
FIXTURES = (sys.executable, "-m", "tests.fakes.mcp_hub")


@pytest.fixture
def suite(tmp_path: Path) -> Conformance:
    return Conformance(tmp_path, find_program("node"), find_program("conformance"))


def lacking(revision: str) -> Path:
    """What a plain hub does not have, as the suite reads it."""
    return Path(__file__).with_name(f"conformance-{revision}.yml")


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_plain_hub_lacks_only_what_is_listed(shared_hub: HubProcess, suite: Conformance, revision: str) -> None:
    report = suite.run(shared_hub.url, revision, "--expected-failures", lacking(revision))
    # Of its own, the suite fails for what is not listed and for what is listed and passes.
    assert report.code == 0, report.text


@pytest.mark.parametrize("revision", REVISIONS)
def test_everything_that_the_protocol_requires_travels_through_our_endpoint(
    hub: Hubs, suite: Conformance, revision: str
) -> None:
    report = suite.run(hub(command=FIXTURES).url, revision)
    assert report.code == 0, report.text
    assert report.required == REQUIRED[revision]
    # What is not required passes too, headers with blanks around their values included.
    assert {name for name in report.failed if not name.startswith("tasks-")} == set()
    if revision == "2026-07-28":
        checks = report.checks["http-header-validation"]
        assert [check["status"] for check in checks].count("SUCCESS") == 14


@pytest.mark.parametrize("revision", REVISIONS)
def test_each_entry_of_the_list_has_its_reason_beside_it(revision: str) -> None:
    lines = lacking(revision).read_text("utf-8").split("server:\n")[1].splitlines()
    assert [line for line in lines if not re.fullmatch(r"  - [\w:-]+ # (feature|fixture): .+", line)] == []
