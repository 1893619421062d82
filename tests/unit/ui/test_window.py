"""Which messages stand on which page."""

import pytest

from app.errors import BadRequest
from app.hub import Hub
from app.models import LOCAL
from app.ui import window as module
from app.ui.window import window

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES", 4)


async def fill(hub: Hub, count: int) -> list[int]:
    """Messages of the channel, with others between them."""
    ids = []
    for _ in range(count):
        await hub.chat.post(target="other", sender="claude", text="x", source="mcp", principal=LOCAL)
        ids.append((await hub.chat.post(target="proj-x", sender="claude", text="x", source="mcp", principal=LOCAL)).id)
    return ids


async def shown(hub: Hub, **query: int) -> tuple[list[int], int | None, int | None]:
    found = await window(hub.chat, "proj-x", {name: str(value) for name, value in query.items()})
    return [message.id for message in found.messages], found.before, found.after


async def test_without_a_wish_the_newest_are_shown(quiet_hub: Hub) -> None:
    assert await shown(quiet_hub) == ([], None, None)
    ids = await fill(quiet_hub, 4)
    assert await shown(quiet_hub) == (ids, None, None)
    ids += await fill(quiet_hub, 2)
    assert await shown(quiet_hub) == (ids[2:], ids[2], None)


async def test_pages_follow_each_other_without_gap_or_repeat(quiet_hub: Hub) -> None:
    ids = await fill(quiet_hub, 10)
    seen, before, _ = await shown(quiet_hub)
    while before is not None:
        page, before, after = await shown(quiet_hub, before=before)
        assert after == page[-1]
        seen = page + seen
    assert seen == ids

    seen, _, after = await shown(quiet_hub, after=0)
    while after is not None:
        page, before, after = await shown(quiet_hub, after=after)
        assert before == page[0]
        seen = seen + page
    assert seen == ids


async def test_a_message_stands_in_the_middle_of_its_page(quiet_hub: Hub) -> None:
    ids = await fill(quiet_hub, 10)

    assert await shown(quiet_hub, at=ids[5]) == (ids[3:7], ids[3], ids[6])
    assert await shown(quiet_hub, at=ids[0]) == (ids[:2], None, ids[1])
    assert await shown(quiet_hub, at=ids[9]) == (ids[7:], ids[7], None)


async def test_a_message_that_is_not_in_the_channel_is_missed(quiet_hub: Hub) -> None:
    ids = await fill(quiet_hub, 3)

    found = await window(quiet_hub.chat, "proj-x", {"at": str(ids[1] - 1)})

    assert found.missing == ids[1] - 1
    assert [message.id for message in found.messages] == ids
    assert (await window(quiet_hub.chat, "proj-x", {"at": str(ids[1])})).missing is None


@pytest.mark.parametrize("name", ["at", "before", "after"])
async def test_a_place_is_a_number(quiet_hub: Hub, name: str) -> None:
    with pytest.raises(BadRequest, match=f"{name} must be a whole number"):
        await window(quiet_hub.chat, "proj-x", {name: "x"})
