"""DET curves: FNMR against FMR, of all losses in one figure, and family by family where there are many."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from faceloss.report import answer
from faceloss.report.charts import MOST, look, power_ticks
from faceloss.report.curves import curves_of, legend, test_of
from faceloss.report.kinds import Curve
from faceloss.report.records import Records
from faceloss.report.svg import MUTED, REST, Style, small_multiples, styles
from faceloss.report.words import power, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[np.float64]]

COLORED = 7  # losses of a family that a panel names
COLUMNS = 3


class Det(NamedTuple):
    """Medians over seeds of FNMR, on a grid of FMR, with the lowest and highest limit of any seed."""

    far: Array
    frr: Array
    low: Array
    high: Array


def _array(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _middle(curves: list[Curve]) -> Det | None:
    """FMR, median FNMR over seeds, and the lowest and highest limit of any seed; on the grid of the first seed."""
    usable = [c for c in curves if len(c.far) == len(c.frr) and len(c.far) > 1 and max(c.far) > 0]
    if not usable:
        return None
    grid = np.unique([far for far in usable[0].far if far > 0])

    def on_grid(curve: Curve, values: Sequence[float | None]) -> Array:
        far = _array(curve.far)
        known = (far > 0) & np.isfinite(_array(values))
        order = np.argsort(far[known], kind="stable")
        if not known.any():
            return np.full(grid.shape, np.nan)
        x = np.log(far[known][order])
        y = _array(values)[known][order]
        return np.asarray(np.interp(np.log(grid), x, y, left=np.nan, right=np.nan), dtype=np.float64)

    frr = np.stack([on_grid(c, c.frr) for c in usable])  # [seeds, grid]
    whole = [c for c in usable if len(c.low) == len(c.high) == len(c.far)]
    low = np.stack([on_grid(c, c.low) for c in whole]).min(axis=0) if whole else np.full(grid.shape, np.nan)
    high = np.stack([on_grid(c, c.high) for c in whole]).max(axis=0) if whole else np.full(grid.shape, np.nan)
    return Det(grid, np.median(frr, axis=0), low, high)


def _lines(records: Records, test: str) -> dict[str, Det]:
    """The curve of each label that has one, from the best label to the worst."""
    found = {label: _middle(curves) for label, curves in curves_of(records, "det", test).items()}
    return {label: line for label, line in found.items() if line is not None}


def _floor(lines: dict[str, Det]) -> float:
    """The lowest FNMR that is drawn."""
    positive = [float(np.nanmin(line.frr[line.frr > 0])) for line in lines.values() if (line.frr > 0).any()]
    return max(min(positive, default=1e-3), 1e-4)


def _frame(axes: "Axes", records: Records, test: str, lines: dict[str, Det], *, named: bool = True) -> None:
    key = answer.primary(records)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.6 * min(line.far[0] for line in lines.values()), max(line.far[-1] for line in lines.values()))
    axes.set_ylim(_floor(lines) * 0.8, 1.1)
    power_ticks(axes.xaxis)
    power_ticks(axes.yaxis)
    axes.set_xlabel("FMR (false match rate)")
    if key is not None and key.metric.startswith("tar") and key.test == test and key.at:
        axes.axvline(key.at, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        if named:
            axes.annotate(
                f"FAR {power(key.at)}", (key.at, 0), (3, 4), xycoords=("data", "axes fraction"),
                textcoords="offset points", color=MUTED, fontsize=8, va="bottom",
            )  # fmt: skip


def _line(axes: "Axes", line: Det, style: Style, floor: float, **more: Any) -> None:
    known: dict[str, Any] = {"linestyle": style.dash, "linewidth": style.width, "zorder": style.order, **more}
    axes.plot(line.far, np.maximum(line.frr, floor / 100), color=style.color, **known)


def det(records: Records) -> Callable[["Figure"], None] | None:
    """Left all labels as lines, right the baseline and the best label with their bands; None without curves."""
    test = test_of(records, "det")
    lines = _lines(records, test) if test is not None else {}
    if test is None or not lines:
        return None
    style = look(records)
    leader = next((label for label in lines if label != records.baseline), records.baseline)
    floor = _floor(lines)

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, labels in ((left, list(lines)), (right, [records.baseline, leader])):
            _frame(axes, records, test, lines)
            for label in dict.fromkeys(label for label in labels if label in lines):
                line = lines[label]
                if axes is right and np.isfinite(line.low).any():
                    lower, upper = np.clip(line.low, floor / 100, 1), np.clip(line.high, floor / 100, 1)
                    axes.fill_between(line.far, lower, upper, color=style[label].color, alpha=0.18, linewidth=0)
                _line(axes, line, style[label], floor)
        left.set_title("All")
        right.set_title(" against ".join(dict.fromkeys([short(leader), short(records.baseline)])) + ", with bands")
        left.set_ylabel("FNMR (false non-match rate)")
        legend(figure, records, list(lines))

    return draw


def of_families(records: Records) -> dict[str, list[str]]:
    """The labels of each family without the baseline, from the best to the worst; families with the best first."""
    family = {run.label: run.family for run in records.runs.values() if run.family}
    found: dict[str, list[str]] = {}
    for label in answer.ranked(records, answer.primary(records)):
        if label in family and label != records.baseline:
            found.setdefault(family[label], []).append(label)
    return found


def families(records: Records) -> tuple[Callable[["Figure"], None], tuple[float, float]] | None:
    """One panel a family: its losses in color, the baseline in ink, the best of all in grey. Returns drawing and size.

    None where the first figure has colors for all, or the records know of fewer than two families.
    """
    test = test_of(records, "det")
    lines = _lines(records, test) if test is not None else {}
    panels = {name: [x for x in labels if x in lines] for name, labels in of_families(records).items()}
    panels = {name: labels for name, labels in panels.items() if labels}
    if test is None or len(records.labels) <= MOST or len(panels) < 2:
        return None
    leader, floor = next(iter(lines)), _floor(lines)
    rows = -(-len(panels) // COLUMNS)

    def draw(figure: "Figure") -> None:
        grid = small_multiples(figure, len(panels), COLUMNS, sharex=True, sharey=True)
        for i, (axes, (name, labels)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            named = [*labels[:COLORED], records.baseline]
            style = styles(named, records.baseline, [*labels, records.baseline])
            _frame(axes, records, test, lines, named=False)
            axes.set_xlabel("")
            axes.tick_params(labelbottom=i + COLUMNS >= len(panels))
            if leader not in labels and leader != records.baseline:
                _line(axes, lines[leader], Style(REST, "-", "", 2.4, 1), floor, label=f"best: {short(leader, 22)}")
            for label in [*labels, records.baseline]:
                if label in lines:
                    _line(axes, lines[label], style[label], floor, label=short(label, 28) if label in named else None)
            axes.set_title(f"{name} ({len(labels)})")
            axes.legend(loc="lower left", fontsize=6.5, handlelength=2.4, labelspacing=0.25, borderpad=0.2)
        for axes in grid[:, 0]:
            axes.set_ylabel("FNMR")
        figure.supxlabel("FMR (false match rate)", fontsize=9)

    return draw, (9.0, 2.9 * rows + 0.3)
