"""Figures, the targets they are held against, and the table that shows them."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WIDTHS = (62, 10, 10, 8, 10, 6)
HEADINGS = ("", "hub", "against", "ratio", "target", "holds")


@dataclass(frozen=True)
class Figure:
    """One measured thing. With something to compare to, the ratio is what counts, otherwise the value itself."""

    name: str
    unit: str
    hub: float
    against: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        value = self.hub if self.ratio is None else self.ratio
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


def compared(name: str, unit: str, pairs: Sequence[tuple[float, float]], **rest: Any) -> Figure:
    """A figure from rounds (hub, against): medians, and the median of the rounds' own ratios.

    The two of a round were measured one right after the other, so a machine that slows down slows both.
    """
    hub, against = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    return Figure(name, unit, hub, against, ratio, **rest)


def heading() -> str:
    return _line(HEADINGS)


def row(figure: Figure) -> str:
    """A figure as a line of the table, with its note below."""
    unit = f" {figure.unit}".rstrip()
    target = figure.at_least if figure.at_most is None else figure.at_most
    sign = "≥" if figure.at_most is None else "≤"
    cells = (
        figure.name,
        f"{_short(figure.hub)}{unit}",
        "" if figure.against is None else f"{_short(figure.against)}{unit}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if target is None else f"{sign} {_short(target)}{unit if figure.ratio is None else ''}",
        {None: "", True: "yes", False: "NO"}[figure.holds],
    )
    return _line(cells) + (f"\n    {figure.note}" if figure.note else "")


def write_json(
    path: Path, measured: Mapping[str, Sequence[Figure]], failures: Mapping[str, str], machine: Mapping[str, Any]
) -> None:
    """Everything of a run: the figures by benchmark, why others are missing, and what the machine was."""
    shown = {name: [figure.as_json() for figure in figures] for name, figures in measured.items()}
    report = {"machine": machine, "figures": shown, "failures": failures}
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _short(value: float) -> str:
    """Three digits, which is more than the noise leaves."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    first, *others = (f"{cell:{'<' if index == 0 else '>'}{WIDTHS[index]}}" for index, cell in enumerate(cells))
    return " ".join([first, *others]).rstrip()
