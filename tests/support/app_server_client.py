"""The smallest client of `codex app-server`: for tests of the fakes, independent of the hub's own client."""

import json
import queue
import subprocess
import threading
from itertools import count
from types import TracebackType
from typing import Any, Self

from tests.support.codex import CodexHome
from tests.support.processes import kill_group

ANSWER_SECONDS = 20


class AppServerClient:
    """One app-server over stdio, used from one thread."""

    def __init__(self, home: CodexHome) -> None:
        self._process = subprocess.Popen(
            [str(home.native), "app-server"],
            cwd=home.project,
            env=home.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._ids = count(1)
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        client = {"name": "relay_hub_test", "title": "Test", "version": "0"}
        self.request("initialize", clientInfo=client, capabilities=None)
        self._send({"method": "initialized"})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(ANSWER_SECONDS)
        finally:
            kill_group(self._process.pid)
            self._process.wait()
            self._reader.join()

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request; its notifications are dropped up to the answer."""
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        answer = self.wait_for(lambda line: line.get("id") == number and "method" not in line)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def turn(self, thread: str, text: str) -> dict[str, Any]:
        """Run a turn to its end and return it."""
        self.request("turn/start", threadId=thread, input=[{"type": "text", "text": text}])
        ended = self.wait_for(lambda line: line.get("method") == "turn/completed")
        turn: dict[str, Any] = ended["params"]["turn"]
        return turn

    def wait_for(self, wanted: Any) -> dict[str, Any]:
        """The first line from now on that is wanted."""
        while True:
            line = self._lines.get(timeout=ANSWER_SECONDS)
            if wanted(line):
                return line

    def _send(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(json.loads(line))
