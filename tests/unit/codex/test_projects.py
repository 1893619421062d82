import pytest

from app.codex.projects import Project, belongs, find_project, normalise, path_key, trusted_projects
from app.codex.protocol import Thread


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/srv/p/", "/srv/p"),
        (" /srv//x/../p/. ", "/srv/p"),
        ("//srv/p", "/srv/p"),
        ("/", "/"),
        ("/srv/a\\b", "/srv/a\\b"),
        ("/mnt/c/Work", "/mnt/c/Work"),
        ("C:\\Work\\p\\", "C:\\Work\\p"),
        ("C:/Work/./x/../p", "C:\\Work\\p"),
        ("C:\\", "C:\\"),
        ("\\\\?\\C:\\Work\\p", "C:\\Work\\p"),
        ("//?/C:/Work/p", "C:\\Work\\p"),
        ("\\\\?\\UNC\\server\\share\\p", "\\\\server\\share\\p"),
        ("\\\\server\\share\\", "\\\\server\\share"),
        ("  ", ""),
    ],
)
def test_a_path_has_one_spelling_to_show(path: str, shown: str) -> None:
    assert normalise(path) == shown
    assert normalise(shown) == shown


def test_windows_paths_compare_without_case_and_posix_paths_with_it() -> None:
    assert path_key("C:\\Work\\P") == path_key("c:/work/p/") == path_key("\\\\?\\C:\\WORK\\p")
    assert path_key("/srv/P") != path_key("/srv/p")


def test_only_trusted_projects_count_sorted_by_name_and_once_each() -> None:
    config = {
        "projects": {
            "/srv/zeta": {"trust_level": "trusted"},
            "/home/a/Alpha": {"trust_level": "trusted"},
            "/srv/no": {"trust_level": "untrusted"},
            "/srv/odd": "trusted",
            "/srv/zeta/": {"trust_level": "trusted"},
            "C:\\Work": {"trust_level": "trusted"},
            "c:\\work\\": {"trust_level": "trusted"},
        }
    }
    assert [p.path for p in trusted_projects(config)] == ["/home/a/Alpha", "C:\\Work", "/srv/zeta"]


@pytest.mark.parametrize("config", [{}, {"projects": None}, {"projects": []}])
def test_a_configuration_without_projects_has_none(config: dict[str, object]) -> None:
    assert trusted_projects(config) == []


def test_a_project_is_its_path() -> None:
    (project,) = trusted_projects({"projects": {"C:\\Work\\Api\\": {"trust_level": "trusted"}}})
    assert project.as_json() == {
        "projectId": "C:\\Work\\Api",
        "path": "C:\\Work\\Api",
        "pathKey": "c:\\work\\api",
        "name": "Api",
        "trusted": True,
        "trustLevel": "trusted",
    }
    assert find_project([project], " c:/work/API ") is project
    assert find_project([project], "/work/api") is None


def test_a_thread_belongs_to_the_project_of_its_very_folder() -> None:
    project = Project("/srv/p", "/srv/p", "/srv/p", "p")
    assert belongs(Thread.parse({"id": "t", "cwd": "/srv/p/"}), project)
    assert not belongs(Thread.parse({"id": "t", "cwd": "/srv/p/sub"}), project)
    assert not belongs(Thread.parse({"id": "t"}), project)
