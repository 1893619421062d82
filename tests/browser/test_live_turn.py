"""The page of a dispatch while its turn runs in the real Codex, and the form that hands one over."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from playwright.sync_api import Page, expect

from tests.fakes.model import FakeModel
from tests.support.browser import Pages, axe_problems, cookies
from tests.support.codex import CodexHome
from tests.support.hub import HubProcess, Hubs

TOP = "element => element.getBoundingClientRect().top"
WAIT_FOR_FILE = "while [ ! -e {file} ]; do sleep 0.05; done"


# One Codex for all of the module: starting it with a hub takes longer than most tests.
@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    with FakeModel() as model:
        yield model


@pytest.fixture(scope="module")
def codex_home(codex_command: Path, model: FakeModel) -> Iterator[CodexHome]:
    # pytest's own folders have long names; a unix socket below them would not fit in its 108 bytes.
    with TemporaryDirectory(prefix="t-") as folder:
        yield CodexHome(Path(folder), codex_command, model.url)


@pytest.fixture(scope="module")
def shared_hub(codex_home: CodexHome) -> Iterator[HubProcess]:
    hubs = Hubs()
    yield hubs(**codex_home.settings)
    hubs.end()


def hand_over(hub: HubProcess, home: CodexHome, message: str, **more: object) -> str:
    receipt = hub.accept(projectId=str(home.project), createIfMissing=True, message=message, **more)
    return str(receipt["dispatchId"])


def selected(page: Page) -> str:
    return str(page.evaluate("getSelection().toString()"))


def select(page: Page, selector: str) -> None:
    page.evaluate("selector => getSelection().selectAllChildren(document.querySelector(selector))", selector)


def test_a_turn_is_seen_while_it_runs_and_the_reader_is_not_disturbed(
    live_hub: HubProcess, codex_home: CodexHome, model: FakeModel, page: Page
) -> None:
    begin, again = (WAIT_FOR_FILE.format(file=name) for name in ("begin", "again"))
    message = (
        "[[commentary I look <b>first</b>, at `this`.]][[shell seq 40; exit 3]]"
        f"[[commentary Now the rest.]][[shell {begin}; echo one; seq 100 180; {again}; echo two]]"
        "[[gate end]][[reply All **done**.]]"
    )
    dispatch_id = hand_over(live_hub, codex_home, message)
    page.goto(f"{live_hub.url}/dispatches/{dispatch_id}")
    page.set_viewport_size({"width": 900, "height": 500})

    steps = page.locator("#items > li")
    expect(steps).to_have_count(4)
    expect(steps.nth(0)).to_have_text("I look <b>first</b>, at this.")
    expect(steps.nth(1).locator("summary")).to_contain_text("exit 3")
    expect(steps.nth(3).locator("summary")).to_contain_text("running")
    # Codex tells of no output that comes before it listens.
    (codex_home.project / "begin").touch()
    expect(steps.nth(3).locator("pre")).to_contain_text("179 180")
    expect(page.locator(".state")).to_contain_text("running")
    assert axe_problems(page) == []
    # What the reader has closed, selected and scrolled to.
    steps.nth(1).locator("summary").click()
    page.get_by_role("link", name="Latest step").click()
    select(page, "#items > li:nth-child(3) .prose")
    page.evaluate("document.querySelector('#items > li:nth-child(4) pre').scrollTop = 30")
    first = steps.nth(0).element_handle()
    (codex_home.project / "again").touch()
    model.wait_at_gate("end")

    expect(steps.nth(3).locator("summary")).to_contain_text("exit 0")
    expect(steps.nth(3).locator("pre")).to_contain_text("180 two")
    assert page.evaluate("document.querySelector('#items > li:nth-child(4) pre').scrollTop") == 30
    assert selected(page) == "Now the rest."
    model.release("end")

    expect(page.locator(".state")).to_contain_text("succeeded")
    expect(page.get_by_role("region", name="Reply").locator("strong")).to_have_text("done")
    expect(page.locator("#items")).not_to_contain_text("All done.")
    expect(page.locator("#steps")).to_contain_text("5 steps")
    expect(page.locator("#steps")).to_contain_text("tokens")
    assert selected(page) == "Now the rest."
    expect(page.locator("#facts")).to_contain_text("Finished")
    assert not page.locator("time").evaluate_all("times => times.filter((time) => time.textContent === time.dateTime)")
    assert steps.nth(1).locator("details").get_attribute("open") is None
    assert page.evaluate("([first, item]) => first === item", [first, steps.nth(0).element_handle()])
    expect(steps.nth(0)).to_be_visible()


def test_text_grows_while_it_is_written(live_hub: HubProcess, codex_home: CodexHome, page: Page) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    dispatch_id = hand_over(live_hub, codex_home, f"[[slow 4]][[reply {words}]]")
    page.goto(f"{live_hub.url}/dispatches/{dispatch_id}")

    expect(page.locator("#items")).to_have_text(re.compile(r"^\s*word0 word1(?!.*word59)"))
    expect(page.get_by_role("region", name="Reply")).to_contain_text("word59")


def test_a_reader_at_the_end_of_the_turn_stays_there(live_hub: HubProcess, codex_home: CodexHome, page: Page) -> None:
    waits = [WAIT_FOR_FILE.format(file=name) for name in ("more", "end")]
    lines = "; ".join(f"echo line {number}" for number in range(15))
    message = f"{'word ' * 600}[[shell {waits[0]}; {lines}]][[shell {waits[1]}]]"
    dispatch_id = hand_over(live_hub, codex_home, message)
    page.set_viewport_size({"width": 900, "height": 500})
    page.goto(f"{live_hub.url}/dispatches/{dispatch_id}")
    expect(page.locator("#items > li")).to_have_count(1)
    page.get_by_role("link", name="Latest step").click()
    expect(page.locator("#latest")).to_be_in_viewport()

    (codex_home.project / "more").touch()

    expect(page.locator("#items > li")).to_have_count(2)
    expect(page.locator("#items > li").last).to_be_in_viewport()
    # In the middle of the message, which moves up when the button above it goes.
    page.evaluate("scrollTo(0, 200)")
    message_top = page.get_by_role("region", name="Message").evaluate(TOP)
    (codex_home.project / "end").touch()
    expect(page.locator(".state")).to_contain_text("succeeded")
    assert page.get_by_role("region", name="Message").evaluate(TOP) == pytest.approx(message_top, abs=1)
    assert page.evaluate("scrollY") < 200


def test_a_turn_is_stopped_by_a_button(
    live_hub: HubProcess, codex_home: CodexHome, model: FakeModel, new_page: Pages
) -> None:
    dispatch_id = hand_over(live_hub, codex_home, "[[gate stop]]")
    model.wait_at_gate("stop")
    live_hub.dispatch_when(dispatch_id, "dispatchStatus", ["running"])
    page, other = new_page(java_script_enabled=False), new_page()
    for each in (page, other):
        each.goto(f"{live_hub.url}/dispatches/{dispatch_id}")
        expect(each.locator(".state")).to_contain_text("running")

    button = page.get_by_role("button", name="Cancel")
    expect(button).to_have_accessible_description("Stops the turn. What it has changed in files stays as it is.")
    button.click()

    for each in (page, other):
        expect(each.locator(".state")).to_contain_text("cancelled")
        expect(each.get_by_role("button", name="Cancel")).to_have_count(0)
    assert page.url.endswith(f"/dispatches/{dispatch_id}")


def test_a_message_and_its_dispatch_link_to_each_other(
    live_hub: HubProcess, codex_home: CodexHome, place: str, page: Page
) -> None:
    dispatch_id = hand_over(live_hub, codex_home, "[[reply told]]", callbackChannel=place)
    page.goto(f"{live_hub.url}/dispatches/{dispatch_id}")

    details = page.get_by_role("region", name="Details")
    details.get_by_role("link", name=re.compile(r"^#\d+$")).click()

    message = page.locator("#messages article")
    expect(message).to_contain_text("told")
    message.get_by_role("link", name="Dispatch", exact=True).click()
    expect(page.get_by_role("region", name="Reply")).to_contain_text("told")


def test_a_dispatch_and_its_callback_link_to_each_other(
    live_hub: HubProcess, codex_home: CodexHome, page: Page
) -> None:
    caller = live_hub.dispatch_when(hand_over(live_hub, codex_home, "[[reply here]]"))["threadId"]
    dispatch_id = hand_over(live_hub, codex_home, "[[reply told]]", callbackThreadId=caller)
    page.goto(f"{live_hub.url}/dispatches/{dispatch_id}")
    expect(page.locator(".state")).to_contain_text("callback delivered")

    details = page.get_by_role("region", name="Details")
    details.locator("dt:text('Told by') + dd a").click()

    details.locator("dt:text('Tells the end of') + dd a").click()
    expect(page.get_by_role("region", name="Reply")).to_contain_text("told")


def fill(page: Page, **fields: str) -> None:
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)


def test_work_is_handed_over_with_a_form(
    live_hub: HubProcess, codex_home: CodexHome, place: str, new_page: Pages
) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{live_hub.url}/dispatches")
    page.get_by_role("link", name="New dispatch").click()
    expect(page.locator("#projects option")).to_have_attribute("value", str(codex_home.project))

    fill(page, Project=str(codex_home.project), Message="one\ntwo", Channel_to_tell=place, Time_limit_in_seconds="600")
    page.get_by_role("button", name="Hand over").click()

    dispatch_id = page.url.rpartition("/")[2]
    done = live_hub.dispatch_when(dispatch_id)
    assert (done["message"], done["timeoutSec"], done["replyText"]) == ("one\ntwo", 600, "echo: one\ntwo")
    assert (done["callbackChannel"], done["created"]) == (place, True)
    page.goto(page.url)
    page.get_by_role("link", name="New dispatch for this thread").click()
    expect(page.get_by_label("Thread", exact=True)).to_have_value(done["threadId"])
    fill(page, Message="three")
    page.get_by_role("button", name="Hand over").click()
    again = live_hub.dispatch_when(page.url.rpartition("/")[2])
    assert (again["threadId"], again["replyText"]) == (done["threadId"], "echo: three")


def test_a_form_that_is_sent_twice_hands_over_once(live_hub: HubProcess, codex_home: CodexHome, page: Page) -> None:
    page.goto(f"{live_hub.url}/dispatches/new")
    fill(page, Project=str(codex_home.project), Message="once")
    fields = page.locator("form.hand-over").evaluate("form => Object.fromEntries(new FormData(form))")
    page.get_by_role("button", name="Hand over").click()
    expect(page.get_by_role("region", name="Reply")).to_contain_text("echo: once")

    again = live_hub.client.post(
        "/dispatches/new", data=fields, headers={"Origin": live_hub.url, "Cookie": cookies(page)}
    )

    assert again.headers["location"] == page.url.removeprefix(live_hub.url)


@pytest.mark.parametrize(
    ("fields", "status", "complaint"),
    [
        ({"Project": "/not/trusted", "Message": "x"}, 403, "Unknown or untrusted project: /not/trusted"),
        ({"Project": "{project}", "Thread": "no such <b>", "Message": "x"}, 404, "No matching thread"),
        ({"Project": "{project}", "Message": "   "}, 400, "Message is required"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_and_nothing_is_lost(
    live_hub: HubProcess,
    codex_home: CodexHome,
    page: Page,
    forgive: Callable[[str], None],
    fields: dict[str, str],
    status: int,
    complaint: str,
) -> None:
    page.goto(f"{live_hub.url}/dispatches/new")
    values = {label: value.format(project=codex_home.project) for label, value in fields.items()}
    fill(page, **values)

    with page.expect_response("**/dispatches/new") as answer:
        page.get_by_role("button", name="Hand over").click()

    assert answer.value.status == status
    expect(page.get_by_role("alert")).to_contain_text(complaint)
    for label, value in values.items():
        expect(page.get_by_label(label, exact=True)).to_have_value(value)
    assert axe_problems(page) == []
    forgive(str(status))


def test_a_codex_that_cannot_be_started_is_told_with_what_to_do(
    hub: Hubs, page: Page, forgive: Callable[[str], None], tmp_path: Path
) -> None:
    running = hub(codex_command=str(tmp_path / "no-codex"))
    page.goto(f"{running.url}/dispatches/new")
    expect(page.get_by_role("alert")).to_contain_text("codex_command")

    fill(page, Project="/somewhere", Message="x")
    page.get_by_role("button", name="Hand over").click()

    expect(page.get_by_role("alert")).to_contain_text("Not accepted")
    expect(page.get_by_label("Message", exact=True)).to_have_value("x")
    forgive("503")
