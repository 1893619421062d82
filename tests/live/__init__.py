"""Programs that try the hub with the real Codex, for longer than a test would: scripts/smoke, soak and chaos."""
