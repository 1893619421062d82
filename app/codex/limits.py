"""What a turn may do: its sandbox, and when Codex asks.

Codex keeps both from turn to turn, so every turn says them anew. On loading a thread they count only where nobody has
it loaded already; those of a turn always count.
"""

from typing import Any, NamedTuple

_POLICIES: dict[str, dict[str, Any]] = {
    "read-only": {"type": "readOnly", "networkAccess": False},
    "workspace-write": {
        "type": "workspaceWrite",
        "writableRoots": [],
        "networkAccess": False,
        "excludeTmpdirEnvVar": False,
        "excludeSlashTmp": False,
    },
    "danger-full-access": {"type": "dangerFullAccess"},
}


class Limits(NamedTuple):
    """Of one turn, by the names of the settings."""

    sandbox: str
    approval: str

    @property
    def of_thread(self) -> dict[str, Any]:
        """For thread/start and thread/resume."""
        return {"sandbox": self.sandbox, **self._asking}

    def of_turn(self, loaded: dict[str, Any] | None) -> dict[str, Any]:
        """For turn/start. `loaded` is the sandbox that Codex has loaded the thread with: of the right kind, it holds
        what Codex's own configuration adds, such as more folders to write in."""
        plain = _POLICIES[self.sandbox]
        is_right = loaded is not None and loaded.get("type") == plain["type"]
        return {"sandboxPolicy": loaded if is_right else plain, **self._asking}

    @property
    def _asking(self) -> dict[str, str]:
        # A model could review what Codex asks; here a human does.
        return {"approvalPolicy": self.approval, "approvalsReviewer": "user"}
