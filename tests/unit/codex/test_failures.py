import pytest

from app.codex.failures import translated
from app.codex.jsonrpc import ConnectionClosed, RequestTimedOut, RpcError
from app.errors import AppServerUnavailable, HubError, InternalError, TargetTurnFailed, ThreadHeld, ThreadNotFound


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("thread t already has an active writer", ThreadHeld, "Thread t is open in another Codex"),
        ("no rollout found for thread id t", ThreadNotFound, "Thread not found: t"),
        ("thread not loaded: t", ThreadNotFound, "Thread not found: t"),
        ("thread not found: t", ThreadNotFound, "Thread not found: t"),
        ("invalid session id: invalid character", ThreadNotFound, "Thread not found: t"),
        ("invalid thread id: invalid character", ThreadNotFound, "Thread not found: t"),
        ("session t is archived. Run `codex unarchive t` …", ThreadNotFound, "Thread t is archived. Run `codex un"),
        ("failed to load rollout x: is empty", TargetTurnFailed, "Target turn failed: failed to load rollout x"),
        ("failed to load configuration: oh", InternalError, "failed to load configuration: oh"),
    ],
)
def test_what_codex_refuses_becomes_an_error_of_the_hub(said: str, kind: type[HubError], told: str) -> None:
    with pytest.raises(HubError) as caught, translated("t"):
        raise RpcError(-32600, said)
    assert type(caught.value) is kind
    assert caught.value.message.startswith(told)
    assert caught.value.details["cause"] == said


def test_a_connection_that_ends_is_an_app_server_that_is_unavailable() -> None:
    with pytest.raises(AppServerUnavailable, match="signal SIGKILL") as caught, translated():
        raise ConnectionClosed("codex app-server exited unexpectedly (signal SIGKILL)")
    assert caught.value.retryable


def test_a_request_without_an_answer_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="Request timed out: thread/list"), translated():
        raise RequestTimedOut("Request timed out: thread/list")
