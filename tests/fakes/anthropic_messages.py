"""The wire of Claude Code: Anthropic's Messages API, as far as Claude Code needs it."""

import json
from collections.abc import AsyncIterator
from typing import Any

from tests.fakes.directives import Prompt, Step
from tests.fakes.pacing import Pacing

INJECTED = ("<system-reminder>",)
"""How texts begin that Claude Code itself writes in the user's name."""


def read(body: dict[str, Any]) -> Prompt:
    """The newest message of a user and what tools answered after it."""
    results: list[str] = []
    for message in reversed(body["messages"]):
        if message["role"] != "user":
            continue
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [b["text"] for b in blocks if b["type"] == "text" and not b["text"].startswith(INJECTED)]
        results += [_text(b.get("content", "")) for b in reversed(blocks) if b["type"] == "tool_result"]
        if texts:
            return Prompt("\n".join(texts), tuple(reversed(results)))
    return Prompt("")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in content)


def whole(steps: list[Step], turn: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer in one piece, for a request that asked for no stream."""
    blocks = [_block(step, f"toolu_{turn}_{index}") for index, step in enumerate(steps) if step.name in _SPOKEN]
    return _envelope(turn, body) | {"content": blocks, "stop_reason": _stop_reason(steps)}


async def write(steps: list[Step], turn: str, body: dict[str, Any], pacing: Pacing) -> AsyncIterator[bytes]:
    """The events of one answer."""
    yield _event("message_start", message=_envelope(turn, body))
    spoken = [step for step in steps if step.name in _SPOKEN]
    for index, step in enumerate(spoken):
        block = _block(step, f"toolu_{turn}_{index}")
        if block["type"] == "text":
            yield _event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            pieces = pacing.pieces(step.text) if step.name == "reply" else _at_once(step.text)
            async for piece in pieces:
                yield _delta(index, type="text_delta", text=piece)
        else:
            yield _event("content_block_start", index=index, content_block=block | {"input": {}})
            yield _delta(index, type="input_json_delta", partial_json=json.dumps(block["input"]))
        yield _event("content_block_stop", index=index)
    if steps[-1].name == "fail":
        code = steps[-1].text
        yield _event("error", error={"type": code, "message": f"the fake model failed with {code}"})
        return
    stop = {"stop_reason": _stop_reason(steps), "stop_sequence": None}
    yield _event("message_delta", delta=stop, usage={"output_tokens": 5})
    yield _event("message_stop")


def refusal(status: int) -> dict[str, Any]:
    error = {"type": "api_error", "message": f"the fake model refused with {status}"}
    return {"type": "error", "error": error}


_SPOKEN = ("commentary", "reply", "shell", "call")


async def _at_once(text: str) -> AsyncIterator[str]:
    yield text


def _stop_reason(steps: list[Step]) -> str:
    return "tool_use" if steps[-1].name in ("shell", "call") else "end_turn"


def _envelope(turn: str, body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{turn}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }


def _block(step: Step, call_id: str) -> dict[str, Any]:
    if step.name not in ("shell", "call"):
        return {"type": "text", "text": step.text}
    if step.name == "shell":
        name, arguments = "Bash", {"command": step.text, "description": "as the prompt says"}
    else:
        namespace, tool = step.tool
        name, arguments = f"{namespace}__{tool}" if namespace else tool, step.arguments
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def _delta(index: int, **delta: Any) -> bytes:
    return _event("content_block_delta", index=index, delta=delta)
