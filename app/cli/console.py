"""Log records for a terminal: none can pass for more than one."""

import logging

from app.visible import printable


class OneLineFormatter(logging.Formatter):
    """Log records whose later lines, those of a traceback, are indented: none can pass for a record."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(printable, super().format(record).split("\n")))
