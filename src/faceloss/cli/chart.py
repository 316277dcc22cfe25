"""Curves as text: one column for each value, readable without color."""

import math
from collections.abc import Sequence
from typing import NamedTuple

LABEL = 7  # columns for the numbers of the vertical axis


class Line(NamedTuple):
    """One curve: its name, its mark, and a value for each column; a value that is not finite leaves a gap."""

    name: str
    mark: str
    values: Sequence[float]


class Glyphs(NamedTuple):
    """What charts are drawn with."""

    curve: str
    reference: str
    second: str
    side: str
    tick: str
    corner: str
    floor: str
    notch: str
    degree: str


FINE = Glyphs("•", "·", "○", "│", "┤", "└", "─", "┬", "°")
PLAIN = Glyphs("*", ".", "o", "|", "+", "+", "-", "+", " deg")


def glyphs(encoding: str | None) -> Glyphs:
    """Those that a stream of this encoding can hold.

    >>> glyphs("utf-8").curve, glyphs("latin-1").curve, glyphs(None).curve
    ('•', '*', '*')
    """
    try:
        "".join(FINE).encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return PLAIN
    return FINE


def chart(title: str, lines: Sequence[Line], drawn: Glyphs, *, rows: int = 11, ends: tuple[float, float]) -> str:
    """The curves over one horizontal axis in degrees from ``ends[0]`` to ``ends[1]``.

    Where two curves meet, the first is on top.

    Args:
        title: what is shown, with its unit; the names of the curves are put beside it.
        lines: all of the same length, which is the width of the chart in columns.
        drawn: what to draw with.
        rows: height of the chart.
        ends: the angles at the left and at the right end, in degrees.
    """
    finite = [value for line in lines for value in line.values if math.isfinite(value)]
    marks = ticks(min(finite, default=0.0), max(finite, default=1.0))
    low, high = marks[0], marks[-1]
    width = len(lines[0].values)
    canvas = [[" "] * width for _ in range(rows)]
    for line in reversed(lines):
        before = None
        for column, value in enumerate(line.values):
            if not math.isfinite(value):
                before = None
                continue
            row = _row(value, low, high, rows)
            reach = [row] if before is None else list(_between(before, row))
            for each in reach:
                canvas[each][column] = line.mark
            before = row
    labels = {_row(mark, low, high, rows): f"{mark:g}" for mark in marks}
    named = "   ".join(f"{line.mark} {line.name}" for line in lines)
    text = [f"{title}   {named}"]
    for row, cells in enumerate(canvas):
        side = drawn.tick if row in labels else drawn.side
        text.append(f"{labels.get(row, ''):>{LABEL - 1}} {side}{''.join(cells)}".rstrip())
    return "\n".join([*text, *_floor(width, ends, drawn)])


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers from at most ``low`` to at least ``high``.

    >>> ticks(-1.13, 1.0), ticks(22.4, 22.4)
    ([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0], [0.0, 5.0, 10.0, 15.0, 20.0, 25.0])
    """
    if high - low < 1e-6:  # a constant is shown against 0
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-6:
        low, high = 0.0, 1.0
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 10) + 0.0 for index in range(first, last + 1)]


def _row(value: float, low: float, high: float, rows: int) -> int:
    """0 is the top."""
    return round((high - value) / (high - low) * (rows - 1))


def _between(before: int, row: int) -> range:
    """The rows that join this column to the one before it."""
    if abs(row - before) <= 1:
        return range(row, row + 1)
    return range(before + 1, row + 1) if row > before else range(row, before)


def _floor(width: int, ends: tuple[float, float], drawn: Glyphs) -> list[str]:
    """The horizontal axis with six parts and its numbers."""
    axis, numbers = [drawn.floor] * width, [" "] * (width + 8)
    for part in range(7):
        column = min(round(part * width / 6), width - 1)
        axis[column] = drawn.notch
        number = f"{ends[0] + part * (ends[1] - ends[0]) / 6:g}"
        start = max(column - (len(number) - 1) // 2, 0)
        label = number + (drawn.degree if part == 6 else "")
        numbers[start : start + len(label)] = label
    indent = " " * LABEL
    return [indent + drawn.corner + "".join(axis), indent + " " + "".join(numbers).rstrip()]
