"""docs/threat-model.md promises nothing without a test that holds it."""

import ast
import re
from functools import lru_cache

import pytest

from tests.support.parts import CHECKOUT

TEXT = (CHECKOUT / "docs" / "threat-model.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| Attack ")
]
TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


@lru_cache
def defined_in(path: str) -> set[str]:
    """The names of the tests that a file defines."""
    tree = ast.parse((CHECKOUT / "tests" / path).read_text("utf-8"))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in found if node.name.startswith("test_")}


def test_the_table_covers_what_the_hub_is_built_against() -> None:
    for word in ("rebinding", "WebSocket", "EventSource", "token", "approve", "fence", "log", "symbolic link", "loop",
                 "webhook", "another user", "second hub", "stolen", "slow", "malformed"):  # fmt: skip
        assert word.lower() in TEXT.lower(), word


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_each_row_says_what_is_promised_what_is_left_and_which_test_holds_it(row: list[str]) -> None:
    assert len(row) == 4, row
    assert all(row)
    held = TEST.findall(row[3])
    assert held, "no test is named"
    for path, name in held:
        assert name in defined_in(path), f"tests/{path} has no {name}"
    assert not TEST.sub("", row[3]).strip(" ,<br>"), "there is more than names of tests"


def test_each_attack_stands_there_once() -> None:
    attacks = [row[0] for row in ROWS]
    assert len(attacks) == len(set(attacks))
