"""Pages and fragments."""

import asyncio
from pathlib import Path

import pytest
from fastapi import Request

from app.errors import NotFound
from app.models import Message
from app.ui import render
from app.ui.render import Renderer, asset_folder, duration

pytestmark = pytest.mark.anyio


def message(number: int, text: str = "text") -> Message:
    return Message(id=number, ts=0.0, target="proj-x", sender="claude", text=text, source="mcp")


class CountingRenderer(Renderer):
    """Counts how often a template is really rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def render(self, template: str, **values: object) -> str:
        self.count += 1
        return super().render(template, **values)


async def test_a_hundred_watchers_cost_one_rendering() -> None:
    renderer = CountingRenderer()

    shown = await asyncio.gather(*(renderer.message(message(1)) for _ in range(100)))

    assert renderer.count == 1
    assert set(shown) == {shown[0]}


async def test_the_cache_forgets_what_was_longest_out_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = CountingRenderer()
    monkeypatch.setattr(render, "CACHE_CHARS", 2 * len(await renderer.message(message(1))) + 100)
    await renderer.message(message(2))
    await renderer.message(message(1))
    await renderer.message(message(3))
    assert renderer.count == 3

    await renderer.message(message(1))
    assert renderer.count == 3
    await renderer.message(message(2))
    assert renderer.count == 4


async def test_an_answer_shows_what_it_answers_once_for_all_readers() -> None:
    asked: list[int] = []

    async def find(message_id: int) -> Message:
        asked.append(message_id)
        if message_id == 9:
            raise NotFound("gone")
        return message(message_id, "# The **question**?\n\nand more")._replace(target="a/b")

    renderer = Renderer(find)
    answer = message(7)._replace(reply_to=3)

    html = await renderer.message(answer)
    await renderer.message(answer)

    assert asked == [3]
    assert 'href="/channels/a%2Fb?at=3#m3"' in html
    assert "The **question**?" in html
    assert "and more" not in html
    assert "In reply to #9, which is gone" in await renderer.message(message(10)._replace(reply_to=9))


async def test_a_sender_is_text_wherever_it_stands() -> None:
    hostile = message(1)._replace(sender='"><script>alert(1)</script>')

    html = await Renderer().message(hostile)

    assert "<script" not in html
    assert 'data-sender="&#34;&gt;&lt;script&gt;' in html


def test_an_error_page_says_what_went_wrong_as_text() -> None:
    headers = [(b"host", b"127.0.0.1"), (b"cookie", b"relay_theme=dark")]
    request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers})

    answer = Renderer().error(request, 404, "Not Found", "There is nothing at /<script>")

    assert answer.status_code == 404
    html = bytes(answer.body).decode()
    assert "There is nothing at /&lt;script&gt;" in html
    assert '<html lang="en" data-theme="dark">' in html


def test_templates_and_static_files_lie_beside_the_package_in_a_checkout() -> None:
    assert (asset_folder("templates") / "base.html").is_file()
    assert (asset_folder("static") / "icon.svg").is_file()


def test_no_template_needs_what_the_security_policy_forbids() -> None:
    for path in Path(asset_folder("templates")).rglob("*.html"):
        text = path.read_text("utf-8")
        for forbidden in (" style=", "<style", " onclick=", " onload=", "javascript:", "| safe", "|safe"):
            assert forbidden not in text, path.name


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0 ms"), (850, "850 ms"), (12_340, "12.3 s"), (245_000, "4 min 5 s"), (7_400_000, "2 h 3 min")],
)
def test_a_duration_is_short_to_read(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text
