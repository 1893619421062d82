"""Relay Hub: channels, and dispatches into Codex threads, behind MCP, JSON and pages."""

__version__ = "0.1.0"
