"""From a post to those who watch: other programs over /api/events, and a person in a browser."""

import json
import statistics
import time
from collections.abc import Iterator

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure
from tests.benchmarks.watchers import Watchers
from tests.benchmarks.wire import Client, post
from tests.support.browser import running_browser

OTHERS = 100
"""Watchers beside the browser."""

# The frame after the change is the one that shows it.
OBSERVE = """() => {
    window.seen = {};
    const look = (node) => {
        const marker = /marker-\\d+/.exec(node.textContent ?? "")?.[0];
        if (marker) requestAnimationFrame(() => (window.seen[marker] ??= Date.now()));
    };
    new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(look)))
        .observe(document.body, { childList: true, subtree: true });
}"""
WAIT = """async (marker) => {
    for (let turn = 0; turn < 1000 && !(marker in window.seen); turn++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return window.seen[marker] ?? null;
}"""


def run(bench: Bench) -> Iterator[Figure]:
    """Milliseconds from before the POST is sent."""
    yield from _to_watchers(bench)
    yield from _to_browser(bench)


def _to_watchers(bench: Bench) -> Iterator[Figure]:
    count = bench.scale.watchers
    took: list[float] = []
    with Watchers(bench.hub, stream_of("live-watchers"), count) as watchers, Client(bench.hub.port) as client:
        for number in range(bench.scale.posts):
            sent = time.monotonic()
            posted = _post(client, "live-watchers", number)
            took += [(at - sent) * 1000 for at in watchers.arrivals(posted)]
    took.sort()
    yield Figure(f"POST to {count} watchers, median", "ms", statistics.median(took))
    yield Figure(f"POST to {count} watchers, p99", "ms", took[len(took) * 99 // 100], at_most=100)


def _to_browser(bench: Bench) -> Iterator[Figure]:
    others = min(OTHERS, bench.scale.watchers)
    channel = "live-page"
    took = []
    with (
        Watchers(bench.hub, stream_of(channel), others) as watchers,
        Client(bench.hub.port) as client,
        running_browser() as browser,
    ):
        page = browser.new_page()
        shown = page.goto(f"{bench.hub.url}/channels/{channel}")
        assert shown, "no page"
        assert shown.ok, f"the page answers {shown.status}"
        page.evaluate(OBSERVE)
        for number in range(bench.scale.posts):
            sent = time.time()
            posted = _post(client, channel, number)
            seen = page.evaluate(WAIT, f"marker-{number}")
            assert seen, "the message did not appear on the page"
            took.append(seen - sent * 1000)
            watchers.arrivals(posted)
    name = f"POST to visible in Chromium, {others} other watchers, median"
    yield Figure(name, "ms", statistics.median(took), at_most=100, note=f"slowest: {max(took):.0f} ms")


def stream_of(channel: str) -> str:
    """The channel's events from its first message on, so that no reader can miss one by connecting late."""
    return f"/api/events?target={channel}&last_event_id=0"


def _post(client: Client, channel: str, number: int) -> int:
    text = f"marker-{number} and what a short message says"
    answer = client.ask(post("/api/messages", {"target": channel, "sender": "bench", "text": text}))
    return int(json.loads(answer.body)["posted"])
