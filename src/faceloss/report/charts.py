"""The two pictures that answer: paired differences with their intervals, and the primary number against its cost."""

from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from faceloss.report import answer, searched
from faceloss.report.kinds import Key
from faceloss.report.records import Records
from faceloss.report.svg import INK, MUTED, PAPER, REST, Style, small_multiples, styles
from faceloss.report.words import digits, interval, metric, place, power, short, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 8  # labels in color; with more, the top few and the baseline are, the rest is grey
TOP = 5


def shown(records: Records) -> list[str]:
    """The labels that figures color: all up to eight, else the top five and the baseline."""
    labels = answer.ranked(records, answer.primary(records))
    return labels if len(labels) <= MOST else list(dict.fromkeys([*labels[:TOP], records.baseline]))


def look(records: Records) -> dict[str, Style]:
    """The style of each label, the same in every figure."""
    return styles(shown(records), records.baseline, records.labels)


def _rows(axes: "Axes", labels: list[str], baseline: str) -> None:
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if label == baseline else "normal")


def _dot(axes: "Axes", y: float, cell: Any, style: Style, *, hollow: bool = False) -> None:
    if cell.low is not None and cell.high is not None:
        axes.plot([cell.low, cell.high], [y, y], color=style.color, linewidth=2, solid_capstyle="butt")
    fill = PAPER if hollow else style.color
    axes.plot([cell.value], [y], marker="o", markersize=6.5, color=style.color, markerfacecolor=fill, zorder=5)


def _beside(axes: "Axes", y: float, points: float, words: str, **look: Any) -> None:
    """Text right of the axes, ``points`` away from their edge, so that columns of text line up."""
    axes.annotate(
        words, (1, y), (points, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="center",
        annotation_clip=False, **look,
    )  # fmt: skip


def differences(
    records: Records, key: Key, *, labels: list[str] | None = None, words: bool = True
) -> Callable[["Axes"], None]:
    """Forest plot: one row a label, its difference to the baseline with interval, and the verdict in words.

    ``labels`` are the rows; left out, every label that is compared at ``key``.
    """
    rows = answer.compared(records, key)
    if labels is None:
        labels = [label for label in answer.ranked(records, answer.primary(records)) if label in rows]
    style = look(records)

    def draw(axes: "Axes") -> None:
        _rows(axes, labels, records.baseline)
        axes.axvline(0, color=INK, linewidth=1)
        decimals = digits(answer.spans(rows.values()), most=4)
        for y, label in enumerate(labels):
            row = rows.get(label)
            if row is None:
                continue
            verdict = answer.verdict(row)
            drawn = row.value is not None and verdict != "diverged"
            if drawn:
                _dot(axes, y, row, style[label], hollow=verdict == "no difference found")
            elif not words:
                axes.text(0, y, f" {verdict}", color=MUTED, va="center", ha="left", fontsize=8)
            if words:
                shown = ""
                if drawn and row.value is not None:
                    limits = interval(row.low, row.high, decimals, sign=True)
                    shown = f"{signed(row.value, decimals)} {limits}"
                _beside(axes, y, 12, shown or verdict)
                if shown:
                    _beside(axes, y, 155, verdict, fontweight="bold" if verdict in ("better", "worse") else "normal")
                if row.baseline != records.baseline:
                    _beside(axes, y + 0.36, 12, f"against {short(row.baseline)}", color=MUTED, fontsize=7.5)
        axes.margins(x=0.08)
        axes.set_xlabel(f"{metric(key)}, difference to {short(records.baseline)}")

    return draw


def values(records: Records, key: Key) -> Callable[["Axes"], None]:
    """Dot plot: one row a label, the number that ranks with its interval."""
    labels = answer.ranked(records, key)
    style = look(records)

    def draw(axes: "Axes") -> None:
        _rows(axes, labels, records.baseline)
        for y, label in enumerate(labels):
            cell = answer.value(records, label, key)
            if cell is not None:
                _dot(axes, y, cell, style[label])
            else:
                axes.text(
                    0.02, y, _absent(records, label), transform=axes.get_yaxis_transform(), va="center", color=MUTED
                )
        axes.margins(x=0.08)
        axes.set_xlabel(metric(key))

    return draw


def _absent(records: Records, label: str) -> str:
    bad = answer.stopped(records, label)
    if bad:
        return records.runs[label, bad[0]].status
    return "not measurable" if answer.finished(records, label) else "not run yet"


def small_differences(records: Records, keys: list[Key]) -> tuple[Callable[["Figure"], None], tuple[float, float]]:
    """The forest plot of every other number, side by side; returns the drawing and its size in inches."""
    columns = min(3, len(keys))
    lines = -(-len(keys) // columns)
    height = 0.28 * len(answer.compared(records, keys[0])) + 0.85

    def draw(figure: "Figure") -> None:
        panels = small_multiples(figure, len(keys), columns)
        for i, (axes, key) in enumerate(zip(panels.flat, keys, strict=False)):
            differences(records, key, words=False)(axes)
            axes.set_title(short(place(key), 33))
            axes.set_xlabel(metric(key))
            if i % columns:
                axes.set_yticklabels([])
            axes.locator_params(axis="x", nbins=4)

    return draw, (9.0, lines * height)


def spent(records: Records, label: str) -> tuple[float, str] | None:
    """Median over the finished seeds of the processor seconds of a run, else of its wall-clock seconds."""
    costs = [records.costs[label, seed] for seed in answer.finished(records, label) if (label, seed) in records.costs]
    for name, words in (("cpu_seconds", "CPU seconds"), ("seconds", "Seconds")):
        known = [getattr(cost, name) for cost in costs if getattr(cost, name) is not None]
        if known:
            return median(known), words
    return None


def _bills(records: Records) -> tuple[dict[str, tuple[float, float]], str]:
    """What the model that is judged cost, and what all candidates of its search cost, by label; and the unit.

    Processor time is known of the first only, so that wall-clock seconds stand for all once one row was searched.
    """
    if any(searched.paid(records, label) is not None for label in records.labels):
        bills = {label: searched.seconds(records, label) for label in records.labels}
        return {label: bill for label, bill in bills.items() if bill is not None}, "Seconds"
    single = {label: found for label in records.labels if (found := spent(records, label)) is not None}
    unit = next((words for _, words in single.values()), "")
    return {label: (cost, cost) for label, (cost, _) in single.items()}, unit


def against_cost(records: Records, key: Key) -> Callable[["Axes"], None] | None:
    """Scatter of the number that ranks against what a run cost; None where fewer than two labels have both.

    A search stands at what all of its candidates cost, with a line to the hollow mark of the model that went on.
    """
    bills, unit = _bills(records)
    cells = {label: answer.value(records, label, key) for label in records.labels}
    points = [(label, bills[label], cell) for label, cell in cells.items() if label in bills and cell is not None]
    if len(points) < 2:
        return None
    style = look(records)
    colored = shown(records)
    named = {label: short(label) for label, _, _ in points if label in colored}

    def draw(axes: "Axes") -> None:
        for label, (own, cost), cell in points:
            mark = style[label]
            if cell.low is not None and cell.high is not None:
                axes.plot([cost, cost], [cell.low, cell.high], color=mark.color, linewidth=1.6, zorder=mark.order)
            y = [cell.value or 0.0]
            if cost > own:
                axes.plot([own, cost], y * 2, color=mark.color, linewidth=1, linestyle=(0, (1.2, 1.4)), zorder=4)
                axes.plot([own], y, mark.marker, color=mark.color, markersize=5, markerfacecolor=PAPER, zorder=5)
            size, order = (6.5, 5) if label in named else (4.5, 2)
            axes.plot([cost], y, mark.marker, color=mark.color, markersize=size, zorder=order, label=named.get(label))
        if len(points) > len(named):
            axes.plot([], [], "o", color=REST, markersize=4.5, label=f"{len(points) - len(named)} others")
        axes.margins(x=0.1, y=0.08)
        axes.set_xlabel(f"{unit} of one run (median over seeds)")
        axes.set_ylabel(metric(key))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=1)

    return draw


def power_ticks(axis: Any) -> None:
    """Plain ``1e-3`` on a logarithmic axis, and no minor marks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(base=10, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: power(x)))


def answer_figure(records: Records, key: Key) -> Callable[["Figure"], None]:
    """Two panels for a README: the number that ranks, and the differences to the baseline with the verdict."""
    rows = answer.compared(records, key)

    def draw(figure: "Figure") -> None:
        figure.suptitle(f"{place(key)}: {metric(key)}", x=0.01, ha="left", fontsize=10)
        if not rows:
            values(records, key)(figure.subplots())
            return
        left, right = figure.subplots(1, 2)
        values(records, key)(left)
        differences(records, key, labels=answer.ranked(records, key))(right)
        right.set_yticklabels([])
        left.set_xlabel("mean, 95 % interval")  # the title names the measure; two long labels would overlap
        right.set_xlabel(f"difference to {short(records.baseline)}")

    return draw
