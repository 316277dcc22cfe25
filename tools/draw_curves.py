"""Small figures of curves against an angle, as SVG text: no dates, no fonts, one decimal, the same on every machine.

Colors are such that a figure reads on white and on black; nothing is told by color alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from faceloss.cli.chart import ticks

WIDTH, HEIGHT = 190, 110  # of the field of a panel, in pixels
LEFT, TOP, BELOW, GAP = 40, 24, 34, 22
INK, GRID = "#7d8590", "#7d859055"
BLUE, ORANGE, GRAY = "#2f81f7", "#d97706", "#8b949e"


class Curve(NamedTuple):
    """One line of a panel; ``dashes`` as in SVG, "" for a whole line. Values that are not finite leave a gap."""

    values: Sequence[float]
    color: str = BLUE
    dashes: str = ""


class Panel(NamedTuple):
    """One field with its own vertical axis; outside ``span``, if given, curves are cut off."""

    title: str
    curves: Sequence[Curve]
    span: tuple[float, float] | None = None


def row(panels: Sequence[Panel], angles: Sequence[float], *, label: str, key: Sequence[tuple[str, Curve]]) -> str:
    """Panels side by side over the same angles in degrees, with one key below.

    ``label`` is what the figure shows, for those who cannot see it.
    """
    width = len(panels) * (LEFT + WIDTH + GAP)
    height = TOP + HEIGHT + BELOW + 18
    body = [_panel(panel, angles, LEFT + index * (LEFT + WIDTH + GAP), TOP) for index, panel in enumerate(panels)]
    x, y = LEFT, height - 6
    for name, curve in key:
        body.append(_line([(x, y - 4), (x + 22, y - 4)], curve))
        body.append(f'<text x="{x + 28}" y="{y}">{name}</text>')
        x += 60 + 6 * len(name)
    body.append(f'<text x="{width - GAP}" y="{y}" text-anchor="end">angle in degrees</text>')
    return _page(width, height, label, body)


def sheet(cells: Sequence[tuple[str, Panel]], angles: Sequence[float], *, columns: int, label: str) -> str:
    """Many small panels under their names, without axes but for a line at 0 and at 90 degrees."""
    wide, high, pad = 118, 74, 14
    body = []
    for index, (name, panel) in enumerate(cells):
        x, y = pad + index % columns * (wide + pad), 20 + index // columns * (high + 30)
        body.append(f'<text x="{x}" y="{y - 5}">{name}</text>')
        low, high_end = panel.span or (-1.0, 1.0)
        zero = y + high * high_end / (high_end - low)
        body.append(_rule(x, zero, x + wide, zero) + _rule(x + wide / 2, y, x + wide / 2, y + high))
        body += _curves(panel.curves, angles, (low, high_end), (x, y, wide, high))
    rows = math.ceil(len(cells) / columns)
    return _page(pad + columns * (wide + pad), 10 + rows * (high + 30), label, body)


def _page(width: float, height: float, label: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{label}" font-family="sans-serif" font-size="11" fill="{INK}">'
    )
    return "\n".join([head, *body, "</svg>", ""])


def _panel(panel: Panel, angles: Sequence[float], x: float, y: float) -> str:
    finite = [value for curve in panel.curves for value in curve.values if math.isfinite(value)]
    low, high = panel.span or (min(finite), max(finite))
    marks = ticks(max(low, min(finite)), min(high, max(finite)))
    low, high = marks[0], marks[-1]
    parts = [f'<text x="{x}" y="{y - 8}" font-weight="bold">{panel.title}</text>']
    for mark in marks:
        place = y + HEIGHT * (high - mark) / (high - low)
        parts.append(_rule(x, place, x + WIDTH, place))
        parts.append(f'<text x="{x - 5}" y="{place + 4:.1f}" text-anchor="end">{mark:g}</text>')
    for angle in range(0, 181, 30):
        place = x + WIDTH * angle / 180
        parts.append(_rule(place, y, place, y + HEIGHT))
        parts.append(f'<text x="{place:.1f}" y="{y + HEIGHT + 14}" text-anchor="middle">{angle}</text>')
    parts += _curves(panel.curves, angles, (low, high), (x, y, WIDTH, HEIGHT))
    return "\n".join(parts)


def _curves(
    curves: Sequence[Curve], angles: Sequence[float], span: tuple[float, float], box: tuple[float, float, float, float]
) -> list[str]:
    """The last curve is on top. A stretch outside ``span`` is left out."""
    low, high = span
    x, y, wide, tall = box
    drawn = []
    for curve in curves:
        stretch: list[tuple[float, float]] = []
        for angle, value in zip(angles, curve.values, strict=True):
            if math.isfinite(value) and low - 1e-9 <= value <= high + 1e-9:
                stretch.append((x + wide * angle / 180, y + tall * (high - value) / (high - low)))
            elif stretch:
                drawn.append(_line(stretch, curve))
                stretch = []
        drawn += [_line(stretch, curve)] if stretch else []
    return drawn


def _line(points: Sequence[tuple[float, float]], curve: Curve) -> str:
    dashes = f' stroke-dasharray="{curve.dashes}"' if curve.dashes else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline fill="none" stroke="{curve.color}" stroke-width="1.8"{dashes} points="{path}"/>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{GRID}"/>'
