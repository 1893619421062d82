"""The wire of Codex: OpenAI's Responses API, as far as Codex needs it."""

import json
from collections.abc import AsyncIterator
from typing import Any

from tests.fakes.directives import Prompt, Step
from tests.fakes.pacing import Pacing

INJECTED = ("<environment_context>", "<user_instructions>", "<turn_aborted>", "# AGENTS.md ")
"""How messages begin that Codex itself writes in the user's name."""


def read(body: dict[str, Any]) -> Prompt:
    """The newest message of a user and what tools answered after it."""
    results: list[str] = []
    for item in reversed(body["input"]):
        if item.get("type", "").endswith("_call_output"):
            results.append(_text(item["output"]))
        elif item.get("role") == "user":
            text = _text(item["content"])
            if not text.startswith(INJECTED):
                return Prompt(text, tuple(reversed(results)))
    return Prompt("")


def _text(content: Any) -> str:
    if isinstance(content, str):
        # The shell tool puts a head of times and codes before what the command printed.
        return content.partition("\nOutput:\n")[2] or content
    return "\n".join(str(part.get("text", "")) for part in content)


async def write(steps: list[Step], turn: str, body: dict[str, Any], pacing: Pacing) -> AsyncIterator[bytes]:
    """The events of one answer."""
    yield _event("response.created", response={"id": turn})
    for index, step in enumerate(steps):
        item_id = f"msg_{turn}_{index}"
        match step.name:
            case "commentary":
                yield _event("response.output_item.done", item=_message(item_id, step.text, "commentary"))
            case "reply":
                yield _event("response.output_item.added", item=_message(item_id, None))
                async for piece in pacing.pieces(step.text):
                    yield _event(
                        "response.output_text.delta",
                        item_id=item_id,
                        output_index=0,
                        content_index=0,
                        delta=piece,
                    )
                yield _event("response.output_item.done", item=_message(item_id, step.text))
            case "shell" | "call" | "patch":
                yield _event("response.output_item.done", item=_call(step, f"call_{turn}_{index}"))
            case "fail":
                error = {"code": step.text, "message": f"the fake model failed with {step.text}"}
                yield _event("response.failed", response={"id": turn, "error": error})
                return
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    yield _event("response.completed", response={"id": turn, "usage": usage})


def refusal(status: int) -> dict[str, Any]:
    return {"error": {"message": f"the fake model refused with {status}", "type": "fake"}}


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def _message(item_id: str, text: str | None, phase: str = "final_answer") -> dict[str, Any]:
    content = [] if text is None else [{"type": "output_text", "text": text}]
    return {
        "type": "message",
        "id": item_id,
        "role": "assistant",
        "content": content,
        "phase": phase,
    }


def _call(step: Step, call_id: str) -> dict[str, Any]:
    if step.name == "patch":
        path, _, text = step.text.partition(" ")
        added = "\n".join(f"+{line}" for line in text.splitlines())
        patch = f"*** Begin Patch\n*** Add File: {path}\n{added}\n*** End Patch\n"
        return {
            "type": "custom_tool_call",
            "call_id": call_id,
            "name": "apply_patch",
            "input": patch,
        }
    if step.name == "shell":
        namespace, name, arguments = None, "exec_command", {"cmd": step.text}
    else:
        (namespace, name), arguments = step.tool, step.arguments
    call = {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": json.dumps(arguments),
    }
    return call | ({"namespace": namespace} if namespace else {})
