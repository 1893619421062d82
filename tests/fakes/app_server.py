"""A scripted app-server, for what the real one cannot be made to do; run it through FakeCodex.

Directives in a message's text: `delay=<ms>` before the answer, and `mode=`
    fail         the turn fails: model exploded          interrupt  the turn ends interrupted
    noreply      it completes without a text             crash      the process exits with code 3
    commentary   two final answers, then commentary      hang_start turn/start is never answered
    nophase      a message without a phase               approval   asks whether to run a command
    retry        an error that is retried, then success
The reply is "echo: " and the last line of the message.
"""

import contextlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.codex import KNOBS, alive, directive, load, new_thread, replies, shared


class Refusal(Exception):
    def __init__(self, message: str, code: int = -32600) -> None:
        super().__init__(message)
        self.code = code


class Server:
    """The process's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = threading.Lock()
        self.greeted = False
        self.reads = 0
        self.active: dict[str, dict[str, Any]] = {}  # thread id -> its running turn
        self.answers: dict[Any, Any] = {}  # the client's answers to our questions
        self.answered = threading.Condition()
        self.unload = any("thread_unload_delay_secs=0" in word for word in sys.argv)
        self.log({"argv": sys.argv[1:], "home": os.environ.get("CODEX_HOME")})

    def serve(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            self.log({"in": message})
            if "method" not in message:
                with self.answered:
                    self.answers[message["id"]] = message.get("result", message.get("error"))
                    self.answered.notify_all()
            elif "id" in message:
                self.answer(message["id"], message["method"], message.get("params") or {})

    def answer(self, request_id: Any, method: str, params: dict[str, Any]) -> None:
        if method in self.knob("never_answer"):
            return
        handler = getattr(self, "on_" + method.replace("/", "_"), None)
        try:
            if not self.greeted and method != "initialize":
                raise Refusal("Not initialized")
            if handler is None:
                raise Refusal(f"Invalid request: unknown variant `{method}`")
            result = handler(params, request_id)
        except Refusal as error:
            self.send({"id": request_id, "error": {"code": error.code, "message": str(error)}})
        else:
            if result is not None:
                self.send({"id": request_id, "result": result})

    def on_initialize(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        self.greeted = True
        name = params["clientInfo"]["name"]
        agent = f"{name}/{self.knob('version')} (Fake 1.0) fake ({name})"
        return {"userAgent": agent, "codexHome": os.environ.get("CODEX_HOME")}

    def on_config_read(self, _params: dict[str, Any], _: Any) -> dict[str, Any]:
        projects = {path: {"trust_level": level} for level in ("trusted", "untrusted") for path in self.knob(level)}
        return {"config": {"projects": projects}, "origins": {}}

    def on_thread_list(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        with shared(self.folder) as threads:
            rows = [
                self.view(thread)
                for thread in reversed(threads.values())
                if thread["preview"] and params.get("cwd") in (None, thread["cwd"])
            ]
        if self.knob("hidden") or params.get("archived"):
            rows = []
        start, size = int(params.get("cursor") or 0), self.knob("page_size")
        more = str(start + size) if start + size < len(rows) else None
        return {"data": rows[start : start + size], "nextCursor": more}

    def on_thread_read(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        self.reads += 1
        with self.thread(params, "thread not loaded: {}") as thread:
            if self.reads <= self.knob("missing_reads"):
                raise Refusal(f"thread not loaded: {thread['id']}")
            turns = [self.as_seen(turn, thread) for turn in thread["turns"]]
            shown = {"turns": turns} if params.get("includeTurns") else {}
            return {"thread": {**self.view(thread), **shown}}

    def on_thread_turns_list(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        with self.thread(params, "thread not loaded: {}") as thread:
            turns = [self.as_seen(turn, thread) for turn in reversed(thread["turns"])]
        return {"data": turns[: params.get("limit") or 25], "nextCursor": None}

    def on_thread_start(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        thread = new_thread(params.get("cwd") or str(Path.cwd()))
        thread["owner"] = os.getpid()
        with shared(self.folder) as threads:
            threads[thread["id"]] = thread
        return {"thread": self.view(thread)}

    def on_thread_name_set(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        if self.knob("refuse_rename"):
            raise Refusal("the name is taken")
        with self.thread(params, "no rollout found for thread id {}") as thread:
            thread["name"] = params["name"]
            thread["stored"] = True
        return {}

    def on_thread_resume(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        with self.thread(params, "no rollout found for thread id {}") as thread:
            owner = thread["owner"]
            if self.knob("active_writer") or (owner != os.getpid() and alive(owner)):
                raise Refusal(f"thread {thread['id']} already has an active writer")
            if not thread["stored"] and owner != os.getpid():
                raise Refusal(f"no rollout found for thread id {thread['id']}")
            thread["owner"] = os.getpid()
            return {"thread": self.view(thread)}

    def on_thread_unsubscribe(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        with self.thread(params, "thread not found: {}") as thread:
            subscribed = thread["owner"] == os.getpid()
            thread["unload"] = self.unload
        if subscribed and self.unload and thread["id"] not in self.active:
            self.release(thread["id"])
        return {"status": "unsubscribed" if subscribed else "notLoaded"}

    def on_turn_start(self, params: dict[str, Any], request_id: Any) -> dict[str, Any] | None:
        with self.thread(params, "thread not found: {}") as thread:
            if thread["owner"] != os.getpid():
                raise Refusal(f"thread not found: {thread['id']}")
            thread["unload"] = False
        thread_id, text = thread["id"], params["input"][0]["text"]
        running = self.active.get(thread_id)
        if running is not None:
            # Steered: the message joins the running turn, whose answer is now for both.
            running["texts"].append(text)
            self.user_message(thread_id, running["id"], text, params.get("clientUserMessageId"))
            return {"turn": {"id": running["id"], "items": [], "status": "inProgress"}}
        if "mode=hang_start" in text:
            return None
        turn: dict[str, Any] = {"id": str(uuid.uuid4()), "items": [], "status": "inProgress"}
        self.active[thread_id] = run = {**turn, "texts": [text], "client_id": params.get("clientUserMessageId")}
        with shared(self.folder) as threads:
            threads[thread_id]["turns"].append(turn)
        if "mode=approval" in text and self.knob("approval_id") == "pending":
            run["question"] = self.ask(request_id, thread_id, turn["id"])
        worker = threading.Thread(target=self.run_turn, args=(thread_id, run), daemon=True)
        if self.knob("early_events"):
            worker.start()
            worker.join()
            return {"turn": turn}
        self.send({"id": request_id, "result": {"turn": turn}})
        worker.start()
        return None

    def on_turn_interrupt(self, params: dict[str, Any], _: Any) -> dict[str, Any]:
        running = self.active.get(params["threadId"])
        if running is None or "interrupt" not in running:
            raise Refusal("no active turn to interrupt")
        if running["id"] != params["turnId"]:
            raise Refusal(f"expected active turn id `{params['turnId']}` but found `{running['id']}`")
        running["interrupt"].set()
        return {}

    def run_turn(self, thread_id: str, run: dict[str, Any]) -> None:
        turn_id, text = run["id"], run["texts"][0]
        mode = directive(text, "mode", "")
        time.sleep(self.knob("late_start_ms") / 1000)
        run["interrupt"] = threading.Event()
        self.notify("thread/status/changed", thread_id, status={"type": "active", "activeFlags": []})
        self.notify("turn/started", thread_id, turn={"id": turn_id, "items": [], "status": "inProgress"})
        self.user_message(thread_id, turn_id, text, run["client_id"])
        if mode == "crash":
            os._exit(3)
        if mode == "retry":
            self.error(thread_id, turn_id, "Reconnecting... 1/5", will_retry=True)
        decision = ""
        if mode == "approval":
            question = run.get("question")
            decision = self.wait_for(question if question is not None else self.ask(None, thread_id, turn_id))
        interrupted = run["interrupt"].wait(int(directive(text, "delay", "0")) / 1000)
        status, error = "completed", None
        if interrupted or mode == "interrupt":
            status = "interrupted"
        elif mode == "fail":
            status, error = "failed", {"message": "model exploded"}
            self.error(thread_id, turn_id, "model exploded", will_retry=False)
        elif mode != "noreply":
            for phase, reply in replies(mode, run["texts"][-1].splitlines()[-1] + decision):
                self.item(thread_id, turn_id, {"type": "agentMessage", "text": reply, "phase": phase})
        with shared(self.folder) as threads:
            thread = threads[thread_id]
            thread["turns"][-1] |= {"status": status, "error": error, "completedAt": time.time()}
        del self.active[thread_id]
        turn = thread["turns"][-1]
        said = [item for item in turn["items"] if item["type"] == "agentMessage"][-1:]
        self.notify("thread/status/changed", thread_id, status={"type": "idle"})
        self.notify("turn/completed", thread_id, turn={**turn, "items": said})
        if thread.get("unload"):
            self.release(thread_id)

    def user_message(self, thread_id: str, turn_id: str, text: str, client_id: Any) -> None:
        content = [{"type": "text", "text": text}]
        item = {"type": "userMessage", "clientId": client_id, "content": content}
        self.item(thread_id, turn_id, item)

    def item(self, thread_id: str, turn_id: str, item: dict[str, Any]) -> None:
        item = {"id": str(uuid.uuid4()), **item}
        with shared(self.folder) as threads:
            thread = threads[thread_id]
            thread["stored"] = True
            if item["type"] == "userMessage":
                thread["preview"] = thread["preview"] or item["content"][0]["text"]
            thread["updatedAt"] = time.time()
            thread["turns"][-1]["items"].append(item)
        self.notify("item/completed", thread_id, turnId=turn_id, item=item)

    def error(self, thread_id: str, turn_id: str, text: str, will_retry: bool) -> None:
        error = {"message": text, "codexErrorInfo": "other"}
        self.notify("error", thread_id, turnId=turn_id, error=error, willRetry=will_retry)

    def ask(self, question_id: Any, thread_id: str, turn_id: str) -> Any:
        """Ask for approval; without an id, with the one of the knob."""
        question_id = self.knob("approval_id") if question_id is None else question_id
        params = {"threadId": thread_id, "turnId": turn_id, "itemId": "c1", "command": "ls"}
        self.send({"id": question_id, "method": "item/commandExecution/requestApproval", "params": params})
        return question_id

    def wait_for(self, question_id: Any) -> str:
        with self.answered:
            self.answered.wait_for(lambda: question_id in self.answers)
            answer = self.answers.pop(question_id)
        return f" [{answer.get('decision') or answer.get('message')}]"

    def release(self, thread_id: str) -> None:
        with shared(self.folder) as threads:
            threads[thread_id]["owner"] = None
        self.notify("thread/status/changed", thread_id, status={"type": "notLoaded"})
        self.notify("thread/closed", thread_id)

    def view(self, thread: dict[str, Any]) -> dict[str, Any]:
        loaded = "active" if thread["id"] in self.active else "idle"
        status = loaded if thread["owner"] == os.getpid() else "notLoaded"
        shown = {key: thread[key] for key in ("id", "name", "preview", "cwd")}
        times = {key: thread[key] for key in ("createdAt", "updatedAt")}
        return {**shown, **times, "status": {"type": self.knob("status") or status}, "turns": []}

    def as_seen(self, turn: dict[str, Any], thread: dict[str, Any]) -> dict[str, Any]:
        """A turn that runs elsewhere, or ran in a process that died, reads as interrupted."""
        foreign = thread["owner"] != os.getpid() or thread["id"] not in self.active
        cut = turn["status"] == "inProgress" and foreign
        return {**turn, "status": "interrupted"} if cut else turn

    @contextlib.contextmanager
    def thread(self, params: dict[str, Any], absent: str) -> Iterator[dict[str, Any]]:
        with shared(self.folder) as threads:
            if params["threadId"] not in threads:
                raise Refusal(absent.format(params["threadId"]))
            yield threads[params["threadId"]]

    def knob(self, name: str) -> Any:
        return load(self.folder / "knobs.json", KNOBS)[name]

    def notify(self, method: str, thread_id: str, **params: Any) -> None:
        self.send({"method": method, "params": {"threadId": thread_id, **params}})

    def send(self, message: dict[str, Any]) -> None:
        self.log({"out": message})
        with self.output:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def log(self, entry: dict[str, Any]) -> None:
        line = json.dumps({**entry, "pid": os.getpid()}) + "\n"
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line)


if __name__ == "__main__":
    Server(Path(os.environ["FAKE_CODEX"])).serve()
    # Turns of a server whose client has gone are cut short, as the real one does.
    os._exit(0)
