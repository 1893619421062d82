"""A scripted app-server, for what the real one cannot be made to do; run it through FakeCodex.

Directives in a message's text: `delay=<ms>` before the answer, and `mode=`
    fail         the turn fails: model exploded          interrupt  the turn ends interrupted
    noreply      it completes without a text             crash      the process exits with code 3
    commentary   two final answers, then commentary      hang_start turn/start is never answered
    nophase      a message without a phase               approval   asks something: `ask=` and a name of
                                                                    `tests.fakes.questions` say what
    retry        an error that is retried, then success
The reply is "echo: " and the last line of the message. How clients reach it: `tests.fakes.app_server_wire`.
"""

import itertools
import json
import math
import os
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from tests.fakes.app_server_threads import Refusal, Threads
from tests.fakes.app_server_wire import Caller, Client, serve
from tests.fakes.codex import alive, directive, new_thread, replies, shared
from tests.fakes.questions import asked


class Server(Threads):
    """The process's side."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clients: set[Client] = set()
        self.listeners: dict[str, set[Client]] = {}  # thread id -> who gets its items and questions
        self.items: dict[tuple[str, str], dict[str, Any]] = {}  # what is under way, by thread and id
        self.questions: dict[str, dict[str, Any]] = {}  # thread id -> what waits for an answer
        self.numbers = itertools.count(100)  # of questions, where no knob says another
        self.draining = threading.Event()
        self.answers: dict[Any, Any] = {}  # the client's answers to our questions
        self.answered = threading.Condition()
        self.unload = any("thread_unload_delay_secs=0" in word for word in sys.argv)
        self.log({"argv": sys.argv[1:], "home": os.environ.get("CODEX_HOME")})

    def take(self, client: Client, text: str) -> None:
        message = json.loads(text)
        self.log({"in": message})
        if "method" not in message:
            with self.answered:
                self.answers[message["id"]] = message.get("result", message.get("error"))
                self.answered.notify_all()
        elif "id" in message:
            self.answer(Caller(client, message["id"]), message["method"], message.get("params") or {})

    def leave(self, client: Client) -> None:
        """Its threads go on without it; those that nobody else has are unloaded once they are idle."""
        self.clients.discard(client)
        for thread_id, listeners in list(self.listeners.items()):
            if client in listeners:
                self.let_go(client, thread_id)

    def answer(self, caller: Caller, method: str, params: dict[str, Any]) -> None:
        if method in self.knob("never_answer"):
            return
        handler = getattr(self, "on_" + method.replace("/", "_"), None)
        try:
            if not caller.client.greeted and method != "initialize":
                raise Refusal("Not initialized")
            if handler is None:
                raise Refusal(f"Invalid request: unknown variant `{method}`")
            if self.draining.is_set() and method in ("thread/start", "thread/resume", "turn/start"):
                raise Refusal("Server is draining; retry after reconnecting")
            result = handler(params, caller)
        except Refusal as error:
            caller.client.send({"id": caller.id, "error": {"code": error.code, "message": str(error)}})
        else:
            if result is not None:
                caller.answer(result)

    def on_initialize(self, params: dict[str, Any], caller: Caller) -> dict[str, Any]:
        caller.client.greeted = True
        name = params["clientInfo"]["name"]
        agent = f"{name}/{self.knob('version')} (Fake 1.0) fake ({name})"
        return {"userAgent": agent, "codexHome": os.environ.get("CODEX_HOME")}

    def on_thread_start(self, params: dict[str, Any], caller: Caller) -> dict[str, Any]:
        thread = new_thread(params.get("cwd") or str(Path.cwd()))
        thread["owner"] = os.getpid()
        with shared(self.folder) as threads:
            threads[thread["id"]] = thread
        self.listeners[thread["id"]] = {caller.client}
        return {"thread": self.view(thread)}

    def on_thread_resume(self, params: dict[str, Any], caller: Caller) -> None:
        if "excludeTurns" in params and self.knob("version") < "0.163":
            raise Refusal("thread/resume.excludeTurns requires experimentalApi capability")
        with self.thread(params, "no rollout found for thread id {}") as thread:
            owner = thread["owner"]
            if self.knob("active_writer") or (owner != os.getpid() and alive(owner)):
                raise Refusal(f"thread {thread['id']} already has an active writer")
            if not thread["stored"] and owner != os.getpid():
                raise Refusal(f"no rollout found for thread id {thread['id']}")
            thread["owner"] = os.getpid()
            thread["unload"] = False
        self.listeners.setdefault(thread["id"], set()).add(caller.client)
        shown = self.view(thread)
        if not params.get("excludeTurns") and thread["turns"]:
            under_way = [item for (owner, _), item in self.items.items() if owner == thread["id"]]
            last = thread["turns"][-1]
            shown["turns"] = [{**last, "items": [*last["items"], *under_way]}]
        caller.answer({"thread": shown})
        if thread["id"] in self.questions:
            caller.client.send(self.questions[thread["id"]])

    def on_thread_unsubscribe(self, params: dict[str, Any], caller: Caller) -> dict[str, Any]:
        with self.thread(params, "thread not found: {}") as thread:
            loaded = thread["owner"] == os.getpid()
        if loaded:
            self.let_go(caller.client, thread["id"])
        return {"status": "unsubscribed" if loaded else "notLoaded"}

    def let_go(self, client: Client, thread_id: str) -> None:
        listeners = self.listeners.setdefault(thread_id, set())
        listeners.discard(client)
        if self.unload and not listeners:
            with shared(self.folder) as threads:
                threads[thread_id]["unload"] = True
            if thread_id not in self.active:
                self.release(thread_id)

    def on_turn_start(self, params: dict[str, Any], caller: Caller) -> dict[str, Any] | None:
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
            run["question"] = self.ask(caller.id, thread_id, turn["id"], text)
        worker = threading.Thread(target=self.run_turn, args=(thread_id, run), daemon=True)
        if self.knob("early_events"):
            worker.start()
            worker.join()
            return {"turn": turn}
        caller.answer({"turn": turn})
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
            decision = self.wait_for(
                thread_id, run, question if question is not None else self.ask(None, thread_id, turn_id, text)
            )
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

    def ask(self, question_id: Any, thread_id: str, turn_id: str, text: str) -> Any:
        """Ask what the text says; without an id, with the one of the knob, or the next one."""
        knob = self.knob("approval_id")
        question_id = (next(self.numbers) if knob is None else knob) if question_id is None else question_id
        method, params, item = asked(directive(text, "ask", "command"), {"threadId": thread_id, "turnId": turn_id})
        if item is not None:
            self.items[thread_id, item["id"]] = item
            self.notify("item/started", thread_id, turnId=turn_id, item=item)
        question = {"id": question_id, "method": method, "params": params}
        self.questions[thread_id] = question
        self.tell(self.listeners[thread_id], question)
        return question_id

    def wait_for(self, thread_id: str, run: dict[str, Any], question_id: Any) -> str:
        """The answer; none where the turn is interrupted, or the question is taken back, before."""
        deadline = time.monotonic() + self.knob("resolve_ms") / 1000 if self.knob("resolve_ms") else math.inf
        with self.answered:
            while question_id not in self.answers:
                if run["interrupt"].is_set() or time.monotonic() > deadline:
                    break
                self.answered.wait(0.01)
            answer = self.answers.pop(question_id, None)
        del self.questions[thread_id]
        self.notify("serverRequest/resolved", thread_id, requestId=question_id)
        if answer is None:
            return ""
        simple = answer.get("decision") or answer.get("message")
        return f" [{simple or json.dumps(answer, sort_keys=True)}]"

    def release(self, thread_id: str) -> None:
        with shared(self.folder) as threads:
            threads[thread_id]["owner"] = None
        self.notify("thread/status/changed", thread_id, status={"type": "notLoaded"})
        self.notify("thread/closed", thread_id)

    def notify(self, method: str, thread_id: str, **params: Any) -> None:
        everybody = method in ("thread/status/changed", "thread/closed")
        to = self.clients if everybody else self.listeners.get(thread_id, set())
        self.tell(to, {"method": method, "params": {"threadId": thread_id, **params}})

    def tell(self, clients: set[Client], message: dict[str, Any]) -> None:
        for client in tuple(clients):
            client.send(message)

    def log(self, entry: dict[str, Any]) -> None:
        line = json.dumps({**entry, "pid": os.getpid()}) + "\n"
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(line)


if __name__ == "__main__":
    serve(Server(Path(os.environ["FAKE_CODEX"])), sys.argv[1:])
    # Turns of a server whose client has gone are cut short, as the real one does.
    os._exit(0)
