"""What the list of dispatches is asked for."""

import pytest

from app.errors import BadRequest
from app.models import DispatchStatus
from app.ui.filter import Filter, chosen


def test_nothing_asked_for_is_everything() -> None:
    assert chosen({}) == Filter()
    assert chosen({}).conditions == {"status": None, "project_id": None, "thread_id": None}
    assert chosen({}).url() == "/dispatches"


def test_conditions_are_kept_when_paging() -> None:
    asked = chosen({"status": "timed_out", "project": " /home/me/a b/ ", "thread": "t"})

    assert asked.conditions == {
        "status": DispatchStatus.TIMED_OUT,
        "project_id": "/home/me/a b",
        "thread_id": "t",
    }
    assert asked.url(before=7) == "/dispatches?status=timed_out&project=%2Fhome%2Fme%2Fa+b&thread=t&before=7"
    assert asked.url("/live/dispatches", project="", thread="") == "/live/dispatches?status=timed_out"


def test_the_root_is_a_folder_as_well() -> None:
    assert chosen({"project": "/"}).project == "/"


def test_a_status_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadRequest, match="status must be one of: queued, running"):
        chosen({"status": "done"})
