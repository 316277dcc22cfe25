"""Figures of curves: score histograms, and the margin-free course of training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from faceloss.report import answer
from faceloss.report.charts import look, shown
from faceloss.report.kinds import Curve, Epoch
from faceloss.report.records import Records
from faceloss.report.svg import INK, MUTED, REST, small_multiples
from faceloss.report.words import power, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[np.float64]]


def test_of(records: Records, name: str) -> str | None:
    """The test whose curves are drawn: that of the number that ranks, else the first that has any."""
    tests = list(dict.fromkeys(curve.test for curve in records.curves if curve.name == name))
    key = answer.primary(records)
    return key.test if key is not None and key.test in tests else next(iter(tests), None)


def curves_of(records: Records, name: str, test: str) -> dict[str, list[Curve]]:
    found: dict[str, list[Curve]] = {}
    for curve in records.curves:
        if curve.name == name and curve.test == test:
            found.setdefault(curve.label, []).append(curve)
    ranked = answer.ranked(records, answer.primary(records))
    return {label: found[label] for label in ranked if label in found}


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
    drawn = {label: curves for label, curves in curves_of(records, "scores", test).items() if label in shown(records)}
    drawn = {label: usable for label, curves in drawn.items() if (usable := _histograms(curves))}
    if not drawn:
        return None
    columns = min(4, len(drawn))
    lines = -(-len(drawn) // columns)
    style = look(records)

    def draw(figure: "Figure") -> None:
        panels = small_multiples(figure, len(drawn), columns, sharex=True, sharey=True)
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

        grid = small_multiples(figure, len(panels), min(2, len(panels)))
        for axes, (name, title) in zip(grid.flat, panels, strict=False):
            for label in labels:
                line(axes, name, label)
            axes.set_title(title)
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        legend(figure, records, labels)

    return draw, (9.0, 2.3 * -(-len(panels) // 2) + 0.6)
