"""Figures of curves: DET, score histograms, and the margin-free course of training."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from faceloss.report import answer
from faceloss.report.charts import look, power_ticks, shown
from faceloss.report.kinds import Curve, Epoch
from faceloss.report.records import Records
from faceloss.report.svg import INK, MUTED, REST
from faceloss.report.words import power, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[np.float64]]


def _array(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def test_of(records: Records, name: str) -> str | None:
    """The test whose curves are drawn: that of the number that ranks, else the first that has any."""
    tests = list(dict.fromkeys(curve.test for curve in records.curves if curve.name == name))
    key = answer.primary(records)
    return key.test if key is not None and key.test in tests else next(iter(tests), None)


def _curves(records: Records, name: str, test: str) -> dict[str, list[Curve]]:
    found: dict[str, list[Curve]] = {}
    for curve in records.curves:
        if curve.name == name and curve.test == test:
            found.setdefault(curve.label, []).append(curve)
    ranked = answer.ranked(records, answer.primary(records))
    return {label: found[label] for label in ranked if label in found}


def _det(curves: list[Curve]) -> tuple[Array, Array, Array, Array] | None:
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
    return grid, np.median(frr, axis=0), low, high


def det(records: Records) -> Callable[["Figure"], None] | None:
    """Left all labels as lines, right the baseline and the best label with their bands; None without curves."""
    test = test_of(records, "det")
    if test is None:
        return None
    found = {label: _det(curves) for label, curves in _curves(records, "det", test).items()}
    lines = {label: line for label, line in found.items() if line is not None}
    if not lines:
        return None
    style = look(records)
    leader = next((label for label in lines if label != records.baseline), records.baseline)
    positive = [float(np.nanmin(frr[frr > 0])) for _, frr, _, _ in lines.values() if (frr > 0).any()]
    floor = max(min(positive, default=1e-3), 1e-4)
    key = answer.primary(records)

    def frame(axes: "Axes") -> None:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.6 * min(line[0][0] for line in lines.values()), max(line[0][-1] for line in lines.values()))
        axes.set_ylim(floor * 0.8, 1.1)
        power_ticks(axes.xaxis)
        power_ticks(axes.yaxis)
        axes.set_xlabel("FMR (false match rate)")
        if key is not None and key.metric.startswith("tar") and key.test == test and key.at:
            axes.axvline(key.at, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
            axes.annotate(
                f"FAR {power(key.at)}", (key.at, 0), (3, 4), xycoords=("data", "axes fraction"),
                textcoords="offset points", color=MUTED, fontsize=8, va="bottom",
            )  # fmt: skip

    def draw(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, labels in ((left, list(lines)), (right, [records.baseline, leader])):
            frame(axes)
            for label in dict.fromkeys(label for label in labels if label in lines):
                grid, frr, low, high = lines[label]
                mark = style[label]
                if axes is right and np.isfinite(low).any():
                    lower, upper = np.clip(low, floor / 100, 1), np.clip(high, floor / 100, 1)
                    axes.fill_between(grid, lower, upper, color=mark.color, alpha=0.18, linewidth=0)
                known: dict[str, Any] = {"linestyle": mark.dash, "linewidth": mark.width, "zorder": mark.order}
                axes.plot(grid, np.maximum(frr, floor / 100), color=mark.color, **known)
        left.set_title("All")
        right.set_title(" against ".join(dict.fromkeys([short(leader), short(records.baseline)])) + ", with bands")
        left.set_ylabel("FNMR (false non-match rate)")
        legend(figure, records, list(lines))

    return draw


def legend(figure: "Figure", records: Records, labels: list[str]) -> None:
    """One legend under the whole figure: colored labels by name, all others as one grey line."""
    from matplotlib.lines import Line2D

    style, colored = look(records), shown(records)
    named = [label for label in labels if label in colored]
    handles = [
        Line2D([], [], color=style[n].color, linestyle=style[n].dash, linewidth=style[n].width, label=short(n))
        for n in named
    ]
    others = len(labels) - len(named)
    if others:
        handles.append(Line2D([], [], color=REST, linewidth=1, label=f"{others} others"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))


def scores(records: Records) -> tuple[Callable[["Figure"], None], tuple[float, float]] | None:
    """Genuine and impostor scores of each colored label, mean density over seeds; returns the drawing and its size."""
    test = test_of(records, "scores")
    if test is None:
        return None
    drawn = {label: curves for label, curves in _curves(records, "scores", test).items() if label in shown(records)}
    drawn = {label: usable for label, curves in drawn.items() if (usable := _histograms(curves))}
    if not drawn:
        return None
    columns = min(4, len(drawn))
    lines = -(-len(drawn) // columns)
    style = look(records)

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes in panels.flat[len(drawn) :]:
            axes.set_axis_off()
        for axes, (label, curves) in zip(panels.flat, drawn.items(), strict=False):
            edges = np.array(curves[0].edges)
            impostor = np.mean([c.impostor for c in curves], axis=0)
            genuine = np.mean([c.genuine for c in curves], axis=0)
            axes.stairs(impostor, edges, fill=True, color=REST, alpha=0.55, linewidth=0)
            axes.stairs(genuine, edges, fill=True, color=style[label].color, alpha=0.3, linewidth=0)
            axes.stairs(impostor, edges, color=MUTED, linewidth=1, linestyle=(0, (2, 1.5)))
            axes.stairs(genuine, edges, color=style[label].color, linewidth=1.4)
            known = [c for c in curves if c.threshold is not None]
            if known:
                threshold = float(np.median([c.threshold or 0.0 for c in known]))
                axes.axvline(threshold, color=INK, linewidth=1)
                at = known[0].threshold_far
                said = f"FAR {power(at)}" if at else "threshold"
                axes.annotate(
                    said, (threshold, 0.98), (3, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                    fontsize=7.5, va="top",
                )  # fmt: skip
            axes.set_title(short(label))
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        figure.supxlabel("Cosine score", fontsize=9)
        for i, axes in enumerate(panels.flat[: len(drawn)]):
            axes.tick_params(labelbottom=i + columns >= len(drawn))

    return draw, (9.0, 1.5 * lines + 0.5)


def _histograms(curves: list[Curve]) -> list[Curve]:
    """Those seeds whose bins agree with the first usable one."""
    whole = [c for c in curves if len(c.edges) > 1 and len(c.genuine) == len(c.impostor) == len(c.edges) - 1]
    return [c for c in whole if c.edges == whole[0].edges]


PANELS = (
    ("accuracy", "Training accuracy"),
    ("target_angle", "Angle to the own class (degrees)"),
    ("cross_entropy", "Margin-free cross-entropy (nats)"),
    ("val_eer", "Validation EER (diagnostic)"),
)


def training(records: Records) -> tuple[Callable[["Figure"], None], tuple[float, float]] | None:
    """What may share an axis over epochs: median over seeds, those of colored labels faint. Returns drawing and size.

    Raw loss values are not among them: a margin makes them incomparable.
    """
    panels = [(name, title) for name, title in PANELS if any(getattr(e, name) is not None for e in records.epochs)]
    if not panels:
        return None
    style = look(records)
    colored = shown(records)
    by_label: dict[str, list[Epoch]] = {}
    for e in records.epochs:
        by_label.setdefault(e.label, []).append(e)
    labels = [label for label in records.labels if label in by_label]

    def line(axes: "Axes", name: str, label: str) -> None:
        by_seed: dict[int, dict[int, float]] = {}
        for e in by_label[label]:
            found = getattr(e, name)
            if found is not None:
                by_seed.setdefault(e.seed, {})[e.epoch] = found
        mark = style[label]
        for course in by_seed.values() if label in colored else []:
            x = sorted(course)
            axes.plot(x, [course[i] for i in x], color=mark.color, linewidth=0.7, alpha=0.35, zorder=2)
        epochs = sorted({i for course in by_seed.values() for i in course})
        middle = [float(np.median([c[i] for c in by_seed.values() if i in c])) for i in epochs]
        known: dict[str, Any] = {"linestyle": mark.dash, "linewidth": mark.width, "zorder": mark.order}
        axes.plot(epochs, middle, color=mark.color, marker="." if len(epochs) == 1 else "", **known)

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        columns = min(2, len(panels))
        grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, (name, title) in zip(grid.flat, panels, strict=False):
            for label in labels:
                line(axes, name, label)
            axes.set_title(title)
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        legend(figure, records, labels)

    return draw, (9.0, 2.3 * -(-len(panels) // 2) + 0.6)
