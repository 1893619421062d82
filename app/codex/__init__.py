"""Codex's app-server: the process, the wire, and what its answers mean."""
