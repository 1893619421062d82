"""Which limits hold for a turn, and which commands need no human: nothing but the settings decides."""

from pathlib import Path

import pytest

from app.codex.limits import Limits
from app.dispatch.policy import Policies, Policy
from app.settings import ProjectPolicy, Settings

SETTINGS = Settings(
    codex_allow=("git status", "make"),
    codex_deny=("git push", "rm"),
    projects={
        "/srv/p/": ProjectPolicy(sandbox="read-only", approval="untrusted", allow=("npm test",)),
        "/srv/p/free": ProjectPolicy(approval="never", deny=("make",)),
        r"C:\Work\Shop": ProjectPolicy(sandbox="danger-full-access"),
    },
)


def policy(path: str = "/srv/p") -> Policy:
    return Policies(SETTINGS).of(path)


@pytest.mark.parametrize(
    ("path", "limits"),
    [
        ("/srv/p", Limits("read-only", "untrusted")),
        ("/srv/p/a/b", Limits("read-only", "untrusted")),
        ("/srv/x/../p/", Limits("read-only", "untrusted")),
        ("/srv/p/free/below", Limits("workspace-write", "never")),
        ("/srv/pp", Limits("workspace-write", "on-request")),
        ("/srv", Limits("workspace-write", "on-request")),
        ("/", Limits("workspace-write", "on-request")),
        ("", Limits("workspace-write", "on-request")),
        ("c:/work/shop/src", Limits("danger-full-access", "on-request")),
        (r"C:\Work\Shop2", Limits("workspace-write", "on-request")),
    ],
)
def test_the_nearest_project_above_a_folder_decides(path: str, limits: Limits) -> None:
    assert policy(path).limits == limits


def test_a_link_to_a_project_does_not_lead_around_its_policy(tmp_path: Path) -> None:
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    strict = ProjectPolicy(sandbox="read-only")
    for named, used in (("real", "link"), ("link", "real")):
        policies = Policies(Settings(projects={str(tmp_path / named): strict}))
        assert policies.of(str(tmp_path / used / "sub")).limits.sandbox == "read-only"


def test_what_runs_without_a_sandbox_is_named() -> None:
    assert Policies(SETTINGS).in_danger == [r"C:\Work\Shop"]
    assert Policies(Settings(codex_sandbox="danger-full-access")).in_danger == ["every project"]
    assert Policies(Settings()).in_danger == []


@pytest.mark.parametrize(
    "command",
    [
        "git status",
        "git status --short",
        "/bin/bash -lc 'git status'",
        "bash -c 'git   status -s'",
        "/usr/bin/zsh -lc 'make all'",
        "npm test",
        "git 'status'",
    ],
)
def test_an_allowed_command_needs_no_human(command: str) -> None:
    ruling = policy().ruling(command, "/srv/p/sub", is_plain=True)
    assert ruling is not None
    assert ruling.is_allowed


@pytest.mark.parametrize(
    "command",
    [
        "git stat",
        "git",
        "gitstatus",
        "./git status",
        "/tmp/git status",
        "git status; ls",
        "git status && ls",
        "git status | sh",
        "git status & ls",
        "git status $(ls)",
        "git status `ls`",
        "git status ${HOME}",
        "git status > /etc/passwd",
        "git status < /dev/zero",
        "git status\nls",
        "git status\rls",
        "(git status)",
        "git status 'a; b'",
        "PATH=/tmp git status",
        "/tmp/bash -lc 'git status'",
        "bash -lc 'git status' extra",
        "bash -lic 'git status'",
        "bash -lc 'git status; ls'",
        "bash -lc 'bash -lc \"git status\"'",
        "git status 'open",
        "echo git status",
        "",
    ],
)
def test_what_only_looks_allowed_is_left_to_a_human(command: str) -> None:
    assert policy().ruling(command, "/srv/p", is_plain=True) is None


@pytest.mark.parametrize(
    "command",
    [
        "git push",
        "/usr/bin/git push origin",
        "/bin/bash -lc 'git push'",
        "bash -lxc 'git push'",
        "git status && git push",
        "git status; rm -rf /",
        "ls\nrm x",
        "echo $(rm x)",
        "echo `rm x`",
        "(cd a; rm x)",
        "{ rm x; }",
        "if true; then rm x; fi",
        "FOO=1 BAR=2 rm x",
        "sudo -u somebody rm x",
        "env A=b git push",
        "timeout 5 git push",
        "find . | xargs -n 1 rm",
        "bash -c \"bash -c 'git push'\"",
        "sh -x -c 'rm x'",
        "echo 'open; rm x",
        "git 'push'",
        "make; rm x",
    ],
)
def test_a_denied_command_is_found_anywhere_in_a_line(command: str) -> None:
    ruling = policy().ruling(command, "/srv/p", is_plain=True)
    assert ruling is not None
    assert not ruling.is_allowed


def test_deny_wins_and_a_project_adds_to_the_rules_of_the_hub() -> None:
    denied = policy("/srv/p/free").ruling("make", "/srv/p/free", is_plain=True)
    assert denied == (False, "make")
    allowed = policy().ruling("make check", "/srv/p", is_plain=True)
    assert allowed == (True, "make")


def test_allow_rules_hold_in_the_project_and_for_running_a_command_alone(tmp_path: Path) -> None:
    assert policy().ruling("make", "/srv/p", is_plain=False) is None
    for folder in ("/srv", "/etc", "/srv/p/../q", "/srv/pp", ""):
        assert policy().ruling("make", folder, is_plain=True) is None
    (tmp_path / "project").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "project" / "link").symlink_to(tmp_path / "outside")
    here = policy(str(tmp_path / "project"))
    assert here.ruling("make", str(tmp_path / "project"), is_plain=True) == (True, "make")
    assert here.ruling("make", str(tmp_path / "project" / "link"), is_plain=True) is None


def test_a_command_that_is_too_long_to_take_apart_is_left_to_a_human() -> None:
    for part in ("sudo ", "a=1 ", "bash -c ", "'", "$(", ";", "\\"):
        assert policy().ruling(part * (10_000 // len(part)), "/srv/p", is_plain=True) is None
    assert policy().ruling("make " + "x" * 10_000, "/srv/p", is_plain=True) is None
    assert policy().ruling("rm " + "x" * 10_000, "/srv/p", is_plain=True) is None


def test_limits_of_a_turn_keep_what_codex_adds_to_the_same_sandbox_and_nothing_of_another() -> None:
    loaded = {"type": "workspaceWrite", "writableRoots": ["/srv/cache"], "networkAccess": True}
    same = Limits("workspace-write", "on-request").of_turn(loaded)
    assert same == {"sandboxPolicy": loaded, "approvalPolicy": "on-request", "approvalsReviewer": "user"}
    other = Limits("read-only", "never").of_turn(loaded)
    assert other["sandboxPolicy"] == {"type": "readOnly", "networkAccess": False}
    assert Limits("workspace-write", "never").of_turn(None)["sandboxPolicy"]["networkAccess"] is False
