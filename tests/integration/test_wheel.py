"""The wheel stands alone: installed into an empty environment, the hub runs from any folder."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.hub import Hubs
from tests.support.parts import CHECKOUT
from tests.support.processes import base_environ, run

pytestmark = pytest.mark.timeout(300)


def pip(python: Path | str, home: Path, *arguments: object) -> None:
    """pip with this machine's own settings, which may name its mirror."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    settings |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_CACHE_DIR": _pip_cache()}
    command = [python, "-m", "pip", *map(str, arguments)]
    finished = run(command, cwd=home, environ=base_environ(home) | settings, timeout=240)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def _pip_cache() -> str:
    command = [sys.executable, "-m", "pip", "cache", "dir"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, folder, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, CHECKOUT)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_app_with_its_pages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    # Templates and static files stand beside the package in a checkout and inside it in the wheel.
    bases = {"app": CHECKOUT / "app", "templates": CHECKOUT, "static": CHECKOUT}
    expected = {
        f"app/{path.relative_to(base).as_posix()}"
        for top, base in bases.items()
        for path in (CHECKOUT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == expected


def test_the_installed_hub_serves_its_page_from_another_folder(wheel: Path, tmp_path: Path, hub: Hubs) -> None:
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    install = ("install", "-q", "--no-deps")
    pip(programs / "python", tmp_path, *install, "--require-hashes", "-r", CHECKOUT / "requirements.txt")
    pip(programs / "python", tmp_path, *install, wheel)
    pip(programs / "python", tmp_path, "check")

    running = hub(command=[programs / "relay-hub"], environ={"PYTHONPATH": ""})

    page = running.client.get("/", follow_redirects=True)
    assert page.status_code == 200
    assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert assets
    assert {running.client.get(asset).status_code for asset in assets} == {200}
