"""Real programs that tests need, and what to do where one is missing."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NPM_PROGRAMS = CHECKOUT / "tests" / "npm" / "node_modules" / ".bin"


def missing(what: str) -> NoReturn:
    """Skip the test with the reason; where everything must be there, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} (CI=true, so nothing may be missing)", pytrace=False)
    pytest.skip(what)


def find_program(*names: str) -> Path:
    """A real program: from RELAY_HUB_TEST_<NAME>, the test's npm folder, or PATH."""
    variable = f"RELAY_HUB_TEST_{names[0].upper().replace('-', '_')}"
    if chosen := os.environ.get(variable):
        return Path(chosen)
    for name in names:
        if (NPM_PROGRAMS / name).exists():
            return NPM_PROGRAMS / name
        if found := shutil.which(name):
            return Path(found)
    missing(f"{names[0]} is not installed: run scripts/test, or set {variable}")
