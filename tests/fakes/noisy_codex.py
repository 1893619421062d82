"""A scripted app-server that also says what no Codex would, before the first item of each turn.

Run it through `NoisyCodex`. With `mode=garbled` in a message, the reply holds what no database takes.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.fakes.app_server import Server
from tests.fakes.app_server_wire import serve
from tests.fakes.codex import FakeCodex

GARBLED = "a\0b\ud800c"
HUGE = 3 * 1024 * 1024


def noise(thread_id: str, turn_id: str) -> list[str]:
    """Lines of every kind that does not belong there."""

    def told(method: str, **params: Any) -> str:
        return json.dumps({"method": method, "params": {"threadId": thread_id, "turnId": turn_id, **params}})

    def item(**members: Any) -> str:
        return told("item/completed", item=members)

    deep: Any = []
    for _ in range(800):
        deep = [deep]
    return [
        "",
        "not json",
        "[1, 2]",
        "{",
        '{"id": 1, "result": 7}',
        '{"id": true, "result": {}}',
        '{"id": -1, "error": "odd"}',
        '{"id": "\\ud800", "method": "novel/question", "params": []}',
        '{"id": 1.5, "method": "item/fileChange/requestApproval", "params": {"threadId": 3, "itemId": null}}',
        '{"method": 7, "params": 7}',
        told("item/completed", threadId="unknown", item={"id": "x", "type": "plan"}),
        item(id="files", type="fileChange", changes=7),
        item(id="reasoning", type="reasoning", summary=7),
        item(id="tool", type="mcpToolCall", arguments=deep),
        item(id="\ud800", type="\0x", status="\udfff"),
        told("item/agentMessage/delta", itemId=7, delta=[1]),
        told("item/agentMessage/delta", itemId="message", delta=GARBLED),
        told("turn/plan/updated", plan=[7, {"step": 7, "status": []}]),
        told("turn/diff/updated", diff=GARBLED),
        told("thread/tokenUsage/updated", tokenUsage={"last": {"inputTokens": 10**4200, "outputTokens": -1}}),
        told("thread/tokenUsage/updated", tokenUsage={"last": {"inputTokens": 10**4200}, "modelContextWindow": 1.5}),
        told("turn/completed", turn={"id": "other", "completedAt": 10**400}),
        told("turn/completed", turn=7),
        told("error", turnId="other", error=7),
        told("warning", pad="x" * HUGE),
    ]


class Noisy(Server):
    """Says all of it once in a turn."""

    def item(self, thread_id: str, turn_id: str, item: dict[str, Any]) -> None:
        if item["type"] == "userMessage":
            for client in tuple(self.listeners.get(thread_id, ())):
                for line in noise(thread_id, turn_id):
                    client.write(line)
        elif "mode=garbled" in item.get("text", ""):
            item = {**item, "text": item["text"] + GARBLED}
        super().item(thread_id, turn_id, item)


class NoisyCodex(FakeCodex):
    """The test's side."""

    def __init__(self, folder: Path, **knobs: Any) -> None:
        super().__init__(folder, **knobs)
        self.command.write_text(self.command.read_text().replace("tests.fakes.app_server", "tests.fakes.noisy_codex"))


if __name__ == "__main__":
    serve(Noisy(Path(os.environ["FAKE_CODEX"])), sys.argv[1:])
    os._exit(0)
