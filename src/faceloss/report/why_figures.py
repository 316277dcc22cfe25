"""Figures of the section "Why": every loss on the same axes, angles in degrees from 0 to 180."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from faceloss.report import why_numbers as numbers
from faceloss.report.charts import MOST, look, power_ticks, shown
from faceloss.report.curves import legend
from faceloss.report.det import COLORED, COLUMNS, of_families
from faceloss.report.kinds import Epoch
from faceloss.report.svg import INK, MUTED, PAPER, REST, small_multiples, styles
from faceloss.report.why_numbers import Array, Entry, View
from faceloss.report.words import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Drawing = tuple[Callable[["Figure"], None], tuple[float, float]]  # and its size in inches
TOP_WEIGHT = 2.0  # of the axis; a few losses pull harder at some angle
MOMENTS = 4  # epochs of which the angles are drawn
SEARCHED = 6  # losses with a panel of h
EASIEST = "Gradient of the easiest half"
PANELS: tuple[tuple[str, tuple[str, ...], tuple[float, ...]], ...] = (  # title, columns, and where lines are drawn
    ("Share of the gradient weight", ("Gradient of the hardest tenth", EASIEST), (0.1, 0.5)),
    ("Rho of norm and sharpness", ("Norm and sharpness, rho",), (0.0,)),
    ("Rho of norm and contrast", ("Norm and contrast, rho",), (0.0,)),
)


def _frame(axes: "Axes") -> None:
    axes.set_xlim(0, 180)
    axes.set_xticks(range(0, 151, 30))  # 180 would touch the 0 of the next panel


def _curve(axes: "Axes", values: Array, **how: Any) -> None:
    """A line through the middles of the bins; a single bin between empty ones becomes a dot."""
    x = numbers.middles(len(values))
    axes.plot(x, values, **how)
    known = np.concatenate([[False], np.isfinite(values), [False]])
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    if alone.any():
        axes.plot(x[alone], values[alone], "o", color=how["color"], markersize=2.5, zorder=how.get("zorder", 2))


def _steps(axes: "Axes", shares: Array, **how: Any) -> None:
    """A histogram as one line, without the empty bins at its ends."""
    some = np.flatnonzero(shares)
    low, high = some[0], some[-1] + 1
    edges = np.linspace(0, 180, len(shares) + 1)[low : high + 1]
    axes.stairs(100 * shares[low:high], edges, baseline=how.pop("baseline", 0), **how)


def _top(curves: Sequence[Mapping[str, Array]]) -> float:
    """The upper end of the axis of weights, the same in all panels."""
    most = max((float(np.nanmax(c)) for some in curves for c in some.values() if np.isfinite(c).any()), default=1.0)
    return min(max(1.05 * most, 1.1), TOP_WEIGHT)


def weights(seen: View) -> Drawing | None:
    """Left what was applied in the last epoch, right the loss itself; all labels, the shown ones in color."""
    applied = {label: w for label in seen.labels if (w := numbers.weights(seen.records, label)) is not None}
    alone = {label: w for label in seen.labels if (w := numbers.ruler(seen.records, label)) is not None}
    if not applied and not alone:
        return None
    style, top = look(seen.records), _top([applied, alone])

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, 2, sharey=True)
        titles = ("As applied, last epoch", "Of the loss alone")
        for axes, curves, title in zip(panels, (applied, alone), titles, strict=True):
            for label in reversed(curves):
                mark = style[label]
                how = {"linestyle": mark.dash, "linewidth": mark.width, "zorder": mark.order}
                _curve(axes, curves[label], color=mark.color, **how)
            _frame(axes)
            axes.set_ylim(-0.02, top)
            axes.set_title(title)
            axes.set_xlabel("Angle to the own class (degrees)")
        panels[0].set_ylabel("Gradient weight")
        legend(figure, seen.records, [label for label in seen.labels if label in {*applied, *alone}])

    return draw, (9.0, 3.6)


def families(seen: View, kind: str) -> Drawing | None:
    """One panel a family; None where the first figure has colors for all, or the records know of fewer than two.

    ``kind``: "weights", gradient weight as applied, dashed the loss alone; "others", angles to the other images of the
    identity on the test.
    """
    solid, dashed = {}, {}
    for label in seen.labels:
        if kind == "weights":
            found, alone = numbers.weights(seen.records, label), numbers.ruler(seen.records, label)
        else:
            found, alone = numbers.others(seen.records, label, "test", seen.test or ""), None
        if found is not None:
            solid[label] = found if kind == "weights" else 100 * found
        if alone is not None:
            dashed[label] = alone
    panels = {name: [x for x in some if x in solid or x in dashed] for name, some in of_families(seen.records).items()}
    panels = {name: some for name, some in panels.items() if some}
    if len(seen.records.labels) <= MOST or len(panels) < 2:
        return None
    lines, top = -(-len(panels) // COLUMNS), _top([solid, dashed]) if kind == "weights" else None

    def draw(figure: "Figure") -> None:
        grid = small_multiples(figure, len(panels), COLUMNS, sharex=True, sharey=True)
        for i, (axes, (name, some)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
            named = [*some[:COLORED], seen.baseline]
            style = styles(named, seen.baseline, [*some, seen.baseline])
            for label in [*some, seen.baseline]:
                mark, known = style[label], short(label, 24) if label in named else None
                if label in dashed and label in named:
                    _curve(axes, dashed[label], color=mark.color, linestyle=(0, (3, 2)), linewidth=0.8, zorder=2)
                if label in solid:
                    _curve(axes, solid[label], color=mark.color, linewidth=mark.width, zorder=mark.order, label=known)
                elif known:
                    axes.plot([], [], color=mark.color, linestyle=(0, (3, 2)), linewidth=0.8, label=known)
            _frame(axes)
            if top is not None:
                axes.set_ylim(-0.02, top)
            axes.tick_params(labelbottom=i + COLUMNS >= len(panels))
            axes.set_title(f"{name} ({len(some)})")
            corner = "lower right" if kind == "weights" else "upper right"
            axes.legend(loc=corner, fontsize=6.5, handlelength=2, labelspacing=0.25, borderpad=0.2)
        for axes in grid[:, 0]:
            axes.set_ylabel("Gradient weight" if kind == "weights" else "Images (%)")
        figure.supxlabel(_other_axis(kind), fontsize=9)

    return draw, (9.0, 2.5 * lines + 0.3)


def _other_axis(kind: str) -> str:
    return f"Angle to {'the own class' if kind == 'weights' else 'the other images of the identity'} (degrees)"


def course(seen: View) -> Drawing | None:
    """Angles of the training samples at up to four epochs; a panel for each label in color."""
    by_label: dict[str, list[Epoch]] = {}
    for epoch in seen.records.epochs:
        if epoch.target_angles:
            by_label.setdefault(epoch.label, []).append(epoch)
    drawn = [label for label in seen.labels if label in by_label and label in shown(seen.records)]
    if not drawn:
        return None
    columns = min(4, len(drawn))
    lines = -(-len(drawn) // columns)
    style = look(seen.records)

    def draw(figure: "Figure") -> None:
        panels = small_multiples(figure, len(drawn), columns, sharex=True, sharey=True)
        for i, (axes, label) in enumerate(zip(panels.flat, drawn, strict=False)):
            known = sorted({e.epoch for e in by_label[label]})
            chosen = sorted({known[round(k * (len(known) - 1) / (MOMENTS - 1))] for k in range(MOMENTS)})
            for place, epoch in enumerate(chosen):
                shares = numbers.angles([e for e in by_label[label] if e.epoch == epoch])
                if shares is None:
                    continue
                last, strength = epoch == chosen[-1], (place + 1) / len(chosen)
                color = style[label].color
                if last:
                    _steps(axes, shares, fill=True, color=color, alpha=0.15, linewidth=0)
                width = 1.8 if last else 1.0
                _steps(axes, shares, baseline=None, color=color, alpha=0.25 + 0.75 * strength, linewidth=width)
            _frame(axes)
            axes.set_title(short(label, 26))
            axes.text(0.98, 0.94, f"epochs {', '.join(map(str, chosen))}", transform=axes.transAxes, ha="right",
                      va="top", fontsize=7, color=MUTED)  # fmt: skip
            axes.tick_params(labelbottom=i + columns >= len(drawn))
        for axes in panels[:, 0]:
            axes.set_ylabel("Samples (%)")
        figure.supxlabel("Angle to the own class (degrees)", fontsize=9)

    return draw, (9.0, 1.75 * lines + 0.4)


def others(seen: View) -> Drawing | None:
    """Angles to the other images of the identity once trained: a sample of the training faces, and the test."""
    style = look(seen.records)
    sets = (("train", seen.train), ("test", seen.test))
    found = [
        (f"{'Training faces' if role == 'train' else 'Test'}: {short(place, 34)}", shares)
        for role, place in sets
        if place is not None
        and (
            shares := {
                label: x for label in seen.labels if (x := numbers.others(seen.records, label, role, place)) is not None
            }
        )
    ]
    if not found:
        return None

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
        for axes, (title, shares) in zip(panels, found, strict=True):
            for label in reversed(shares):
                mark = style[label]
                how = {"linestyle": mark.dash, "linewidth": mark.width, "zorder": mark.order}
                _steps(axes, shares[label], baseline=None, color=mark.color, **how)
            _frame(axes)
            axes.set_title(title)
            axes.set_xlabel(_other_axis("others"))
        panels[0].set_ylabel("Images (%)")
        legend(figure, seen.records, [label for label in seen.labels if any(label in s for _, s in found)])

    return draw, (9.0, 3.3)


def dots(seen: View) -> Drawing | None:
    """A row a label: who carries the gradient, and what the norm goes with."""
    known = {column.name: column for column in numbers.columns(seen)}
    panels = [(title, [n for n in names if n in known], marks) for title, names, marks in PANELS]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return None
    rows = seen.labels
    style = look(seen.records)

    def draw(figure: "Figure") -> None:
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (title, names, marks) in zip(grid, panels, strict=True):
            for at in marks:
                axes.axvline(at, color=MUTED, linewidth=1, linestyle=(0, (2, 2)) if at else "-", zorder=1)
            for name in names:
                for y, label in enumerate(rows):
                    entry = known[name].cell(seen, label)
                    if entry is not None:
                        _entry(axes, y, entry, style[label].color, hollow=name == EASIEST)
            axes.set_title(title)
            axes.grid(False, axis="y")
            axes.spines["left"].set_visible(False)
        grid[0].set_yticks(range(len(rows)), [short(label) for label in rows])
        grid[0].set_ylim(len(rows) - 0.5, -0.5)
        for tick, label in zip(grid[0].get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if label == seen.baseline else "normal")

    return draw, (9.0, 0.27 * len(rows) + 0.9)


def _entry(axes: "Axes", y: float, entry: Entry, color: str, *, hollow: bool) -> None:
    low, high = entry.low, entry.high
    if low is None and entry.spread is not None:
        low, high = entry.value - entry.spread, entry.value + entry.spread
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=color, linewidth=1.6, solid_capstyle="butt", zorder=3)
    fill = PAPER if hollow else color
    axes.plot([entry.value], [y], "o", color=color, markerfacecolor=fill, markersize=5.5, zorder=5)


def factors(seen: View) -> Drawing | None:
    """h against p of the losses that were searched for, as they ended: a panel a label, a line a seed."""
    found = {
        label: [
            r for (name, _), r in sorted(seen.records.rulers.items()) if name == label and r.p and len(r.p) == len(r.h)
        ]
        for label in seen.labels
    }
    found = dict([(label, some) for label, some in found.items() if some][:SEARCHED])
    if not found:
        return None
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    style = look(seen.records)

    def draw(figure: "Figure") -> None:
        panels = small_multiples(figure, len(found), columns, sharex=True, sharey=True)
        for axes, (label, some) in zip(panels.flat, found.items(), strict=False):
            color = style[label].color if style[label].color != REST else INK
            axes.set_yscale("log")
            power_ticks(axes.yaxis)
            axes.axhline(1, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            for r in some:
                h = numbers.as_array(r.h)
                axes.plot(r.p, np.where(h > 0, h, np.nan), color=color, linewidth=1.4, alpha=0.8)
            axes.set_xlim(0, 1)
            axes.set_title(short(label, 34))
        for axes in panels[:, 0]:
            axes.set_ylabel("h")
        figure.supxlabel("Probability p of the target under plain softmax", fontsize=9)

    return draw, (9.0 if columns > 1 else 5.0, 2.1 * lines + 0.3)
