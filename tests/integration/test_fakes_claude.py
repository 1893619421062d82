"""The fake model speaks well enough for the real Claude Code."""

import pytest

from tests.fakes.model import FakeModel
from tests.support.claude import Claude


def test_claude_answers_and_the_fake_counts_the_message(claude: Claude, model: FakeModel) -> None:
    finished = claude("hello from claude")

    assert (finished.stdout.strip(), finished.returncode) == ("echo: hello from claude", 0)
    assert model.seen("hello from claude") == 1


@pytest.mark.parametrize("name", ["mcp__relay|echo", "mcp__relay__echo"])
def test_claude_calls_an_mcp_tool_and_answers_its_result(claude: Claude, echo_server: str, name: str) -> None:
    finished = claude(
        f'[[call {name} {{"text": "brackets ]] inside"}}]]',
        mcp={"relay": f"{echo_server}/mcp"},
        allowed=["mcp__relay__*"],
    )

    assert "heard: brackets ]] inside" in finished.stdout


def test_claude_uses_its_shell_and_goes_on(claude: Claude) -> None:
    finished = claude("[[shell echo from the shell > seen]] [[reply done]]", allowed=["Bash"])

    assert finished.stdout.strip() == "done"
    assert (claude.project / "seen").read_text("utf-8") == "from the shell\n"


def test_claude_fails_where_the_prompt_directs_it(claude: Claude) -> None:
    finished = claude("[[http 500]]")

    assert finished.returncode == 1
    assert "refused with 500" in finished.stdout
