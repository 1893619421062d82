"""The engine: turns dispatches into turns of Codex threads, and answers for how each of them ends."""
