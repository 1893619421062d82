"""Diffs taken apart: those of the real git and diff, those that agents write by hand, and what is none."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ui import diff
from app.ui.diff import Kind, parse
from tests.support.parts import missing


def text_of(found: diff.Diff) -> str:
    return found.preamble + "".join(line.text for file in found.files for line in file.lines)


def numbers(file: diff.File) -> list[tuple[str, int | None, int | None]]:
    return [(line.text, line.old, line.new) for line in file.lines if line.old or line.new]


def parsed(text: str) -> diff.Diff:
    found = parse(text)
    assert found
    assert text_of(found) == text
    return found


class Repository:
    """A real git repository."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("git") is None:
            missing("git is not installed")
        self.folder = folder
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        own = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "core.autocrlf=false")
        done = subprocess.run(["git", *own, *arguments], cwd=self.folder, capture_output=True, check=True)
        return done.stdout.decode()

    def commit(self, **files: bytes | None) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty-message", "--message", "")


@pytest.fixture
def changes(tmp_path: Path) -> Repository:
    """A repository whose last commit changes, renames, makes and deletes files."""
    repository = Repository(tmp_path)
    lines = [f"line {number}\n".encode() for number in range(40)]
    moved = b"".join(lines) + b"moved"
    repository.commit(
        changed=b"".join(lines),
        old_name=moved,
        gone=b"-- a comment\n++ another\n",
        picture=b"\0\1\2",
        **{"ü b\t.txt": b"text\n"},
    )
    lines[3:5], lines[30:30] = [b"-- three\n", b"++ three and a half\n"], [b"new\n", b"\n"]
    repository.commit(
        changed=b"".join(lines),
        old_name=None,
        new_name=moved + b"!",
        gone=None,
        picture=b"\0\1\3",
        made=b"",
        **{"ü b\t.txt": b"other\n"},
    )
    return repository


def test_a_diff_of_git_has_its_files_with_the_counts_that_git_counts(changes: Repository) -> None:
    found = parsed(changes.git("diff", "--find-renames", "HEAD~1", "HEAD"))

    assert {file.title: file.changes for file in found.files} == {
        "changed": [],
        "gone": ["deleted"],
        "made": ["new"],
        "old_name → new_name": ["renamed"],
        "picture": ["binary"],
        "ü b\\t.txt": [],
    }
    counts = changes.git("diff", "--find-renames", "--numstat", "-z", "HEAD~1", "HEAD")
    for file in found.files:
        assert f"{file.count(Kind.ADDED)}\t{file.count(Kind.REMOVED)}\t" in counts or file.changes == ["binary"]


def test_each_line_of_git_stands_at_its_number(changes: Repository) -> None:
    found = parsed(changes.git("diff", "HEAD~1", "HEAD", "--", "changed"))

    old, new = (changes.git("show", f"{commit}:changed").splitlines() for commit in ("HEAD~1", "HEAD"))
    for text, old_number, new_number in numbers(found.files[0]):
        assert old_number is None or old[old_number - 1] == text[1:].rstrip("\n")
        assert new_number is None or new[new_number - 1] == text[1:].rstrip("\n")
    assert found.files[0].count(Kind.ADDED) == 4


@pytest.mark.parametrize("options", [("--stat", "--patch"), ("--binary",), ("--unified=0",), ("--word-diff=none",)])
def test_every_form_that_git_writes_is_taken_apart(changes: Repository, options: tuple[str, ...]) -> None:
    found = parsed(changes.git("show", *options))

    assert "Author: t" in found.preamble
    assert len(found.files) >= 6


def test_a_patch_for_mail_ends_with_no_removed_line(changes: Repository) -> None:
    found = parsed(changes.git("format-patch", "--stdout", "HEAD~1"))

    assert found.preamble.startswith("From ")
    assert [line.kind for line in found.files[-1].lines if line.text == "-- \n"] == [Kind.NOTE]


def test_a_plain_diff_of_several_files(tmp_path: Path) -> None:
    if shutil.which("diff") is None:
        missing("diff is not installed")
    for name, content in (("old/a", "1\n2\n"), ("new/a", "1\n3\n"), ("old/b", "x\n"), ("new/b", "y")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    output = subprocess.run(["diff", "-ru", "old", "new"], cwd=tmp_path, capture_output=True, check=False).stdout

    found = parsed(output.decode())

    assert [file.title for file in found.files] == ["new/a", "new/b"]
    assert numbers(found.files[0]) == [(" 1\n", 1, 1), ("-2\n", 2, None), ("+3\n", None, 2)]
    assert found.files[1].lines[-1].text == "\\ No newline at end of file\n"


def test_names_alone_begin_a_file() -> None:
    found = parsed("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n--- a/y\n+++ b/y\n@@ -7 +7 @@\n-c\n+d\n")

    assert [(file.title, file.count(Kind.ADDED)) for file in found.files] == [("x", 1), ("y", 1)]
    assert numbers(found.files[1]) == [("-c\n", 7, None), ("+d\n", None, 7)]


def test_a_bare_hunk_is_a_file_without_a_name() -> None:
    hunk = "@@ -1 +1 @@\n-a\n+b\n"

    assert [file.title for file in parsed(f"{hunk}--- a/x\n+++ b/x\n{hunk}").files] == ["", "x"]


def test_wrong_counts_lose_no_line_and_no_file() -> None:
    too_small = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n same\n\n+c\n"
    too_large = "--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n-a\n+b\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-c\n+d\n"

    assert parsed(too_small).files[0].count(Kind.ADDED) == 2
    assert [file.title for file in parsed(too_large).files] == ["x", "y"]


def test_changed_lines_that_look_like_names_are_lines() -> None:
    text = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n--- old\n+++ new\n@@ -9 +9 @@\n-a\n+b\n"

    assert [file.count(Kind.ADDED) for file in parsed(text).files] == [2]


def test_a_hunk_without_numbers_has_none() -> None:
    found = parsed("--- a/x\n+++ b/x\n@@ def f():\n-a\n+b\n")

    assert found.files[0].count(Kind.REMOVED) == 1
    assert numbers(found.files[0]) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "plain words\n",
        "-a\n+b\n",
        "diff --git a/x b/x\n",
        "diff --git a/x b/x\n+new\n",
        "--- a\n",
        "--- a/x\n+++ b/x\n",
        "--- a/x\n+++ b/x\n-a\n+b\n",
        "@@ no numbers @@\n+x\n",
        "diff --cc x\nindex 1,2..3\n--- a/x\n+++ b/x\n@@@ -1,1 -1,1 +1,2 @@@\n  a\n++b\n",
    ],
)
def test_what_has_not_the_form_is_no_diff(text: str) -> None:
    assert parse(text) is None


def test_huge_diffs_are_left_alone() -> None:
    assert parse("@@ -1 +1 @@\n" + "+x\n" * diff.MAX_LINES) is None
    assert parse("--- a/x\n+++ b/x\n@@ -1 +1 @@\n+x\n" * (diff.MAX_FILES + 1)) is None


PIECES = """
diff --git a/x b/y|diff -|Index: x|--- a/x|+++ b/x|--- /dev/null|--- "a/\\303\\2"|--- |+++ |rename from x
new file mode 1|Binary files x differ|@@ -1,2 +1,2 @@|@@ -0,0 +1 @@|@@ -999999999 +1 @@|@@|@@@ x
+a|-b| c||word|-- |\\ No newline
"""
LINES = [*PIECES.replace("\n", "|").split("|"), "\x0c", "- \u2028x"]


@given(st.lists(st.sampled_from(LINES), max_size=30), st.sampled_from(["", "\n"]))
def test_whatever_is_taken_apart_is_there_to_the_letter(lines: list[str], end: str) -> None:
    text = "\n".join(lines) + end
    found = parse(text)

    assert found is None or text_of(found) == text
