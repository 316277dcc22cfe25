"""The section on identification: who is it (CMC), or nobody (open set), for galleries of several sizes."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from faceloss.report import answer, tables
from faceloss.report.charts import look, power_ticks
from faceloss.report.curves import curves_of, legend, test_of
from faceloss.report.kinds import Key, OpenSet
from faceloss.report.markup import Child, Safe, head, row, table, tag
from faceloss.report.records import Records
from faceloss.report.svg import MUTED, inline
from faceloss.report.words import digits, metric, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[np.float64]]

MEASURED, BEYOND = 3, 2  # panels: the largest galleries that were measured, the smallest that were extrapolated
POINTS = 40
LINEAR = 0.05  # lowest FNIR down to which its axis is linear


def section(records: Records) -> list[Child]:
    """CMC of the test that ranks, and the open set of every test that has one; empty where nothing is there."""
    parts: list[Child] = []
    found = cmc(records)
    if found is not None:
        test = test_of(records, "cmc")
        picture = inline(found, name="cmc", size=(9.0, 3.4), alt=f"Cumulative match characteristic on {test}")
        parts.append(
            _figure(
                picture, f"CMC on {test}.",
                "Share of the images whose first mate is among the k most alike of all others; medians over seeds. "
                "Every one of these images has a mate; strangers come below.",
            )
        )  # fmt: skip
    for i, test in enumerate(_tests(records)):
        parts.append(tag("h3", f"{test}: open set"))
        parts.append(
            tag(
                "p", "Half of the identities are enrolled with one image each; the others are strangers. FPIR is the "
                "share of strangers' images that are given a name, TPIR = 1 − FNIR the share of enrolled people's "
                "images that are given the right one. The threshold belongs to the size of the gallery: each has its "
                "own.", class_="note",
            )
        )  # fmt: skip
        keys = [key for key in tables.columns(records) if key.test == test and key.metric == "tpir"]
        if keys:
            parts.append(rates(records, test, keys))
        drawn = open_set(records, test)
        if drawn is not None:
            draw, size, said = drawn
            picture = inline(draw, name=f"openset{i}", size=size, alt=f"Open set on {test}: FNIR against FPIR")
            parts.append(_figure(picture, f"Open set on {test}.", said))
    return parts


def _figure(picture: Safe, title: str, caption: str) -> Safe:
    return tag("figure", picture, tag("figcaption", tag("b", title), " ", caption))


def _tests(records: Records) -> list[str]:
    known = [key.test for key in records.keys if key.metric == "tpir"] + [c.test for c in records.open_sets]
    return list(dict.fromkeys(known))


def rates(records: Records, test: str, keys: Sequence[Key]) -> Safe:
    """A row a loss: TPIR with interval and threshold for each gallery; the difference at the hardest of them."""
    decimals = {k: digits(answer.spans(c for (_, n), c in records.summaries.items() if n == k)) for k in keys}
    able = [k for k in keys if any(c.measured for (_, n), c in records.summaries.items() if n == k)]
    hardest = able[-1] if able else None
    gaps = answer.compared(records, hardest)
    gap = digits(answer.spans(gaps.values()), most=4)
    names = [tag("th", tables.column(records, k), tag("small", _size(k)), scope="col", class_="n") for k in keys]
    last = tag("small", f"{metric(hardest)}, {_size(hardest)}") if hardest else None
    header = head("Loss", *names, tag("th", f"Difference to {records.baseline}", last, scope="col"))
    body = []
    for label in answer.ranked(records, answer.primary(records)):
        cells = []
        for k in keys:
            cell = tables.answer_or_refusal(records, label, k)
            shown = tables.measure(cell, decimals[k], tables.absent(records, label))
            at = _threshold(records, label, k)
            if cell is not None and cell.measured and at is not None:
                shown = Safe(shown.removesuffix("</td>") + tag("small", f"score ≥ {number(at, 3)}") + "</td>")
            cells.append(shown)
        verdict = tables.difference(gaps.get(label), gap, records, label)
        base = "base" if label == records.baseline else None
        body.append(row(tag("th", label, scope="row"), *cells, verdict, class_=base))
    return table(header, body, name=f"Open set on {test}")


def _size(key: Key) -> str:
    return key.protocol.removeprefix("open set, ")


def _threshold(records: Records, label: str, key: Key) -> float | None:
    """The median over seeds."""
    cells = [c for (who, _, k), c in records.results.items() if (who, k) == (label, key)]
    known = [c.threshold for c in cells if c.threshold is not None]
    return median(known) if known else None


def cmc(records: Records) -> Callable[["Figure"], None] | None:
    """Rate over rank of every label, the colored ones on top; medians over seeds."""
    test = test_of(records, "cmc")
    if test is None:
        return None
    lines: dict[str, tuple[Array, Array]] = {}
    for label, curves in curves_of(records, "cmc", test).items():
        whole = [c for c in curves if len(c.rank) == len(c.rate) > 0 and min(c.rank) > 0]
        if whole:
            grid = np.unique(np.concatenate([np.array(c.rank, dtype=np.float64) for c in whole]))
            rows = [np.interp(np.log(grid), np.log(np.array(c.rank)), c.rate) for c in whole]
            lines[label] = grid, np.median(rows, axis=0)
    if not lines:
        return None
    style, last = look(records), max(10.0, *(float(rank[-1]) for rank, _ in lines.values()))
    ticks = [x * 10.0**k for k in range(10) for x in (1, 2, 5) if x * 10.0**k <= last]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_xlim(0.95, last * 1.05)
        axes.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
        axes.minorticks_off()
        for label, (rank, rate) in lines.items():
            mark = style[label]
            axes.step(
                [*rank, last], [*rate, rate[-1]], where="post", color=mark.color, linestyle=mark.dash,
                linewidth=mark.width, zorder=mark.order,
            )  # fmt: skip
        axes.set_xlabel("Rank k")
        axes.set_ylabel("Share found by rank k")
        legend(figure, records, list(lines))

    return draw


def open_set(
    records: Records, test: str
) -> tuple[Callable[["Figure"], None], tuple[float, float], str] | None:  # fmt: skip
    """FNIR over FPIR, a panel a gallery, the extrapolated ones last; returns drawing, size and caption."""
    here = [c for c in records.open_sets if c.test == test and len(c.fpir) == len(c.fnir) > 1]
    measured = sorted({c.gallery for c in here if c.extrapolated_from is None})[-MEASURED:]
    beyond = sorted({c.gallery for c in here if c.extrapolated_from is not None})[:BEYOND]
    if not measured:
        return None
    panels = [(size, False) for size in measured] + [(size, True) for size in beyond]
    ranked = answer.ranked(records, answer.primary(records))
    lines: list[dict[str, tuple[Array, Array]]] = []
    for size, computed in panels:
        own = [c for c in here if c.gallery == size and (c.extrapolated_from is not None) is computed]
        by = {label: [c for c in own if c.label == label] for label in ranked}
        lines.append({label: line for label, curves in by.items() if (line := _middle(curves)) is not None})
    lowest = min((float(y[y > 0].min()) for some in lines for _, y in some.values() if (y > 0).any()), default=1.0)
    style = look(records)

    def draw(figure: "Figure") -> None:
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
        for axes, (size, computed), some in zip(grid.flat, panels, lines, strict=True):
            _panel(axes, some, style, max(lowest, 1e-4))
            axes.set_title(f"{size:,} enrolled{', extrapolated' if computed else ''}")
            axes.set_xlabel("FPIR")
            if computed:
                axes.annotate(
                    "computed, not measured", (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", color=MUTED,
                    fontsize=8,
                )  # fmt: skip
                for line in axes.get_lines():
                    line.set_linestyle((0, (1, 2)))
        grid[0, 0].set_ylabel("FNIR (1 − TPIR)")
        legend(figure, records, [label for label in ranked if any(label in some for some in lines)])

    said = "Medians over seeds, lower is better; each line begins where 30 false alarms are expected."
    if beyond:
        source = max(c.extrapolated_from or 0 for c in here)
        said += (
            f" Dotted: extrapolated from {source:,} enrolled, as if every further person were a stranger like those "
            "there are. That is no measurement, and it is in no table."
        )
    width = 9.0 if len(panels) > 1 else 5.5
    return draw, (width, 3.2), said


def _middle(curves: list[OpenSet]) -> tuple[Array, Array] | None:
    """FPIR and the median FNIR over seeds, on a grid that all of them reach."""
    usable = [c for c in curves if min(c.fpir) > 0]
    if not usable:
        return None
    low, high = max(min(c.fpir) for c in usable), min(max(c.fpir) for c in usable)
    if not low < high:
        return None
    grid = np.geomspace(low, high, POINTS)
    rows = []
    for curve in usable:
        order = np.argsort(curve.fpir, kind="stable")
        x, y = np.log(np.array(curve.fpir))[order], np.array(curve.fnir)[order]
        rows.append(np.interp(np.log(grid), x, y))
    return grid, np.asarray(np.median(rows, axis=0), dtype=np.float64)


def _panel(axes: "Axes", lines: dict[str, tuple[Array, Array]], style: dict[str, Any], lowest: float) -> None:
    axes.set_xscale("log")
    power_ticks(axes.xaxis)
    if lowest < LINEAR:
        axes.set_yscale("log")
        power_ticks(axes.yaxis)
    axes.set_ylim(lowest * 0.8 if lowest < LINEAR else 0, 1.05)
    for label, (fpir, fnir) in lines.items():
        mark = style[label]
        y = np.clip(fnir, lowest * 0.8, 1)
        axes.plot(fpir, y, color=mark.color, linestyle=mark.dash, linewidth=mark.width, zorder=mark.order)
