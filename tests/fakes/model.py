"""A model server for tests: what Codex and Claude Code talk to instead of the real ones.

It does what the directives of a prompt say (`tests.fakes.directives`), keeps every request, and holds answers at gates.
In a test: the fixture `model`. By hand: `python -m tests.fakes.model --port 8788`, then `POST /gates/NAME` to release
a gate and `GET /requests` to see what was asked.
"""

import argparse
import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes import anthropic_messages, openai_responses
from tests.fakes.directives import Prompt, Step
from tests.fakes.pacing import Pacing
from tests.support.serving import Served

WAIT_SECONDS = 30


@dataclass(frozen=True)
class Asked:
    """One request for an answer, as the model saw it."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    prompt: Prompt

    @property
    def is_new(self) -> bool:
        """Whether this request brings a user's message, not the result of a tool."""
        return not self.prompt.results


class FakeModel:
    """The server and what it saw. Its methods may be called from any thread."""

    def __init__(self, port: int = 0) -> None:
        self.asked: list[Asked] = []
        self.other: list[str] = []
        self._changed = threading.Condition()
        self._gates: dict[str, asyncio.Event] = {}
        self._arrived: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._stopping = asyncio.Event()
        app = Starlette(
            routes=[
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count_tokens, methods=["POST"]),
                Route("/gates/{name}", self._open_gate, methods=["POST"]),
                Route("/requests", self._list_requests, methods=["GET"]),
                Route("/{path:path}", self._unknown, methods=["GET", "POST", "HEAD"]),
            ]
        )
        self._served = Served(app, port)
        self.url = self._served.url

    def __enter__(self) -> Self:
        self._served.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._served.loop.call_soon_threadsafe(self._stopping.set)
        self._served.stop()

    # What a test asks and says.

    def seen(self, text: str) -> int:
        """How often a user's message that holds this text was put to the model."""
        with self._changed:
            return sum(asked.is_new and text in asked.prompt.text for asked in self.asked)

    def wait_until_seen(self, text: str, times: int = 1, timeout: float = WAIT_SECONDS) -> None:
        """Return once the model was asked so often; fail after the timeout."""
        self._wait(lambda: self.seen(text) >= times, timeout, f"the model never saw {text!r}")

    def wait_at_gate(self, name: str, times: int = 1, timeout: float = WAIT_SECONDS) -> None:
        """Return once so many answers have come to this gate; fail after the timeout."""
        self._wait(lambda: self._arrived[name] >= times, timeout, f"nobody came to gate {name!r}")

    def release(self, name: str) -> None:
        """Open a gate, for good; it need not have been reached."""
        self._served.loop.call_soon_threadsafe(lambda: self._gate(name).set())

    def _wait(self, predicate: Callable[[], bool], timeout: float, complaint: str) -> None:
        with self._changed:
            met = self._changed.wait_for(predicate, timeout)
        assert met, f"{complaint} within {timeout} s; it saw {[a.prompt.request for a in self.asked]}"

    # What the agents ask.

    async def _responses(self, request: Request) -> Response:
        return await self._answer(request, openai_responses)

    async def _messages(self, request: Request) -> Response:
        return await self._answer(request, anthropic_messages)

    async def _answer(self, request: Request, wire: ModuleType) -> Response:
        body = await request.json()
        prompt: Prompt = wire.read(body)
        with self._changed:
            self.asked.append(Asked(request.url.path, dict(request.headers), body, prompt))
            self._changed.notify_all()
            turn = str(len(self.asked))
        steps = prompt.steps
        for step in steps:
            if step.name == "gate":
                await self._stand_at(step.text)
        if steps[-1].name == "http":
            if (status := self._refusal(prompt, steps[-1])) is not None:
                return JSONResponse(wire.refusal(status), status)
            steps[-1] = prompt.answer
        slow = sum(float(step.text) for step in steps if step.name == "slow")
        pacing = Pacing(slow, self._stopping)
        if not body.get("stream", False):
            await pacing.pause(slow)
            if steps[-1].name == "fail":
                return JSONResponse(wire.refusal(500), 500)
            return JSONResponse(wire.whole(steps, turn, body))
        events = wire.write(steps, turn, body, pacing)
        return StreamingResponse(self._cut(events, steps[-1]), media_type="text/event-stream")

    async def _cut(self, events: AsyncIterator[bytes], ending: Step) -> AsyncIterator[bytes]:
        """The events; only the first one where the answer is to break off."""
        async for event in events:
            yield event
            if ending.name == "hang":
                await Pacing(0, self._stopping).pause(None)
            if ending.name == "drop":
                raise ConnectionAbortedError("the prompt asked for a dropped connection")

    def _refusal(self, prompt: Prompt, ending: Step) -> int | None:
        """The HTTP status to refuse with, as often as the prompt wants it."""
        status, _, times = ending.text.partition(" ")
        self._refused[prompt.text] += 1
        if times and self._refused[prompt.text] > int(times):
            return None
        return int(status)

    async def _stand_at(self, name: str) -> None:
        with self._changed:
            self._arrived[name] += 1
            self._changed.notify_all()
        await asyncio.wait(
            [asyncio.ensure_future(event.wait()) for event in (self._gate(name), self._stopping)],
            return_when=asyncio.FIRST_COMPLETED,
        )

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _open_gate(self, request: Request) -> Response:
        self._gate(request.path_params["name"]).set()
        return Response(status_code=204)

    async def _list_requests(self, request: Request) -> Response:
        return JSONResponse([asked.body for asked in self.asked])

    async def _count_tokens(self, request: Request) -> Response:
        return JSONResponse({"input_tokens": len(await request.body()) // 4})

    async def _unknown(self, request: Request) -> Response:
        self.other.append(f"{request.method} {request.url.path}")
        return JSONResponse({"error": {"message": "the fake model does not know this path"}}, 404)


def main() -> None:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description="A model server for tests.")
    parser.add_argument("--port", type=int, default=8788)
    with FakeModel(parser.parse_args().port) as model:
        print(f"The fake model is listening on {model.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
