"""What the fake model is told to do, in the words of the prompt itself.

A prompt holds directives in double square brackets. They are carried out in their order; a tool call ends one answer
of the model, and what follows it waits for the tool's result. Text outside directives is answered by an echo.

    [[reply TEXT]]        answer exactly TEXT
    [[commentary TEXT]]   a message before the answer
    [[silent]]            finish without any message
    [[big N]]             answer N characters
    [[slow SECONDS]]      stream the answer over that time
    [[gate NAME]]         hold the answer until the test releases the gate NAME
    [[shell COMMAND]]     run COMMAND through the agent's own shell tool, then answer its output
    [[patch FILE TEXT]]   Codex: add FILE through apply_patch (known model slugs only)
    [[call mcp__server|tool {json}]]   call a tool, then answer its result; `mcp__server__tool` is the same
    [[http STATUS]]       refuse with an HTTP status; `[[http 500 2]]` only twice
    [[fail CODE]]         fail inside the stream with this error code
    [[drop]]              close the connection in the middle of the answer
    [[hang]]              begin the answer and never go on
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

DELEGATED = "Delegated request:\n"
"""The last fixed line of the hub's envelope: what follows is the message itself."""

FLAGS = ("silent", "drop", "hang")
WITH_TEXT = ("reply", "commentary", "big", "slow", "gate", "shell", "patch", "call", "http", "fail")
TOOLS = ("shell", "patch", "call")
ENDINGS = ("reply", "silent", "big", "http", "fail", "drop", "hang", *TOOLS)

_OPENING = re.compile(rf"\[\[(?:(?P<flag>{'|'.join(FLAGS)})\]\]|(?P<name>{'|'.join(WITH_TEXT)}) )")
_TOOL = re.compile(r"(?P<namespace>mcp__.+?)(?:\||__)(?P<tool>\w+)")


@dataclass(frozen=True)
class Step:
    """One directive: its name, the words after it, and the JSON arguments of a call."""

    name: str
    text: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def tool(self) -> tuple[str | None, str]:
        """Namespace and name of the called tool; a tool of the agent itself has no namespace."""
        match = _TOOL.fullmatch(self.text)
        return (match["namespace"], match["tool"]) if match else (None, self.text)


@dataclass(frozen=True)
class Prompt:
    """The newest user message of a request, and the results of tools since then."""

    text: str
    results: tuple[str, ...] = ()

    @property
    def request(self) -> str:
        """The message of whoever asked, without the hub's envelope."""
        return self.text.partition(DELEGATED)[2] or self.text

    @property
    def answer(self) -> Step:
        """The answer where no directive gives one: what a tool said, else an echo."""
        return Step("reply", self.results[-1] if self.results else f"echo: {parse(self.request)[1]}")

    @property
    def steps(self) -> list[Step]:
        """What to do in this answer; the last step is always one that ends it."""
        steps, _ = parse(self.request)
        rounds: list[list[Step]] = [[]]
        for step in steps:
            rounds[-1].append(step)
            if step.name in TOOLS:
                rounds.append([])
        current = rounds[len(self.results)] if len(self.results) < len(rounds) else []
        if not current or current[-1].name not in ENDINGS:
            current = [*current, self.answer]
        if current[-1].name == "big":
            current[-1] = Step("reply", _filler(int(current[-1].text)))
        return current


def parse(text: str) -> tuple[list[Step], str]:
    """The directives of a text, and the text without them."""
    steps: list[Step] = []
    rest: list[str] = []
    position = 0
    while match := _OPENING.search(text, position):
        rest.append(text[position : match.start()])
        if match["flag"]:
            steps.append(Step(match["flag"]))
            position = match.end()
        else:
            step, position = _step(match["name"], text, match.end())
            steps.append(step)
    rest.append(text[position:])
    return steps, "".join(rest).strip()


def _filler(length: int) -> str:
    return ("0123456789" * (length // 10 + 1))[:length]


def _step(name: str, text: str, start: int) -> tuple[Step, int]:
    arguments: dict[str, Any] = {}
    brace = text.find("{", start)
    if name == "call" and 0 <= brace < _closing(text, start):
        # JSON may hold "]]" itself, so its own parser says where it ends.
        arguments, end = json.JSONDecoder().raw_decode(text, brace)
        return Step(name, text[start:brace].strip(), arguments), _closing(text, end) + 2
    end = _closing(text, start)
    return Step(name, text[start:end].strip(), arguments), end + 2


def _closing(text: str, start: int) -> int:
    end = text.find("]]", start)
    if end < 0:
        raise ValueError(f"a directive is not closed: {text[start : start + 80]!r}")
    return end
