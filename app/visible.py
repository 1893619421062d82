"""Texts that pretend to be something else: what cannot be seen, or moves other characters, made visible as escapes."""

_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_WITHOUT_WIDTH = (0xAD, 0x180E, *range(0x200B, 0x200E), *range(0x2060, 0x2066), *range(0x206A, 0x2070), 0xFEFF)


def _escapes(*codes: int) -> dict[int, str]:
    return {code: f"\\u{code:04x}" for code in codes}


BEYOND_JSON = _escapes(*range(0x7F, 0xA0), 0x2028, 0x2029, *_DIRECTIONS)
"""For `str.translate`: JSON escapes only C0 itself; the rest would let a text forge lines, drive a terminal that shows
it, or change the direction in which it is read."""
_LINE = BEYOND_JSON | _escapes(*(code for code in range(0x20) if code != 0x09))
_TEXT = {code: shown for code, shown in (_LINE | _escapes(*_WITHOUT_WIDTH)).items() if code != 0x0A}


def printable(line: str) -> str:
    """One line for a log or a terminal, with everything in it that could be more than that escaped."""
    return line.translate(_LINE).encode(errors="backslashreplace").decode()


def visible(text: str) -> str:
    """A text for whoever has to know what exactly is there; line ends and tabs stay."""
    return text.translate(_TEXT).encode(errors="backslashreplace").decode()
