"""Text for a terminal: nothing in it can drive the terminal or pass for a line of its own."""

import logging

_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029) if code != 0x09}


def printable(text: str) -> str:
    """One line, with control characters, line ends and half surrogate pairs as `\\u001b`."""
    return text.translate(_ESCAPED).encode(errors="backslashreplace").decode()


class OneLineFormatter(logging.Formatter):
    """Log records whose later lines, those of a traceback, are indented: none can pass for a record."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(printable, super().format(record).split("\n")))
