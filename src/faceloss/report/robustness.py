"""Robustness: FNMR of corrupted probes over levels, a panel a corruption, and the paired differences of the means."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from faceloss.report import answer
from faceloss.report.charts import look, power_ticks, shown
from faceloss.report.curves import legend
from faceloss.report.kinds import Cell, Difference
from faceloss.report.markup import Child, Safe, head, numeric, row, table, tag
from faceloss.report.records import Records
from faceloss.report.svg import inline, small_multiples
from faceloss.report.tables import absent, difference, measure, verdict_chip, written, written_difference
from faceloss.report.words import breakable, digits, listed, power, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLEAN, ALL, ADDED = "", "all", "added "
COLUMNS = 4
LOG = 0.05  # an FNMR below it is drawn on a logarithmic axis

Cells = dict[tuple[str, str, int | None], Cell]  # label, corruption, level
Differences = dict[tuple[str, str, bool], Difference]  # label, corruption, whether it is what corruption added


class Place(NamedTuple):
    """What is known of one test."""

    test: str
    cells: Cells
    compared: Differences  # of clean images and of means


def places(records: Records) -> list[Place]:
    """One for each test that was corrupted."""
    found = []
    for test in dict.fromkeys(cell.test for cell in records.robustness):
        cells = {(c.label, c.corruption, c.level): c for c in records.robustness if c.test == test}
        rows = [d for d in records.robust_differences if d.test == test and d.level is None]
        found.append(Place(test, cells, {(d.label, d.corruption, d.metric.startswith(ADDED)): d for d in rows}))
    return found


def section(records: Records) -> list[Child]:
    """For each test that was corrupted its sentence, figure and table; nothing where none was."""
    found = places(records)
    parts: list[Child] = []
    for number, (test, cells, compared) in enumerate(found):
        parts.append(tag("h3", test) if len(found) > 1 else None)
        parts.append(tag("p", *(f"{said} " for said in _sentences(records, compared))) if compared else None)
        draw, size = figure(records, cells)
        first = next(iter(cells.values()))
        picture = inline(
            draw, name=f"robustness{number}", size=size, alt=f"{_metric(first)} on {test} over levels of corruption"
        )
        parts.append(tag("figure", picture, tag("figcaption", tag("b", f"{_metric(first)}, {test}."), " ", CAPTION)))
        parts.append(_table(records, cells, compared, f"Robustness on {test}"))
    return parts


CAPTION = (
    "Corrupted probes against the gallery as it is; each condition has its own threshold. Lower is better. Lines are "
    "means over seeds. The bands are 95 % intervals, over subjects and seeds, of the baseline and of the best in the "
    "mean of all."
)


def _metric(cell: Cell) -> str:
    return f"{cell.metric.replace('fnmr', 'FNMR')} at FMR {power(cell.at)}" if cell.at else cell.metric


def names_of(cells: Cells) -> list[str]:
    """The corruptions, in the order of the records."""
    return list(dict.fromkeys(name for _, name, level in cells if name not in (CLEAN, ALL)))


def _overall(cells: Cells) -> str:
    """What stands for all corruptions: their mean, or the only one."""
    names = names_of(cells)
    return names[0] if len(names) == 1 else ALL


def figure(records: Records, cells: Cells) -> tuple[Callable[["Figure"], None], tuple[float, float]]:
    """Small multiples: a panel a corruption, the level from clean to 5 against FNMR. Returns drawing and size."""
    names, style = names_of(cells), look(records)
    labels = [label for label in _ranked(records, cells) if any(key[0] == label for key in cells)]
    banded = [records.baseline, *labels[:1]]
    levels = sorted({level for _, _, level in cells if level is not None})
    low = min((c.value for c in cells.values() if c.measured and c.value is not None), default=1.0)
    floor = 10.0 ** np.floor(np.log10(max(low, 1e-4)))
    bottom = max(0.0, np.floor(10 * min((c.low for c in cells.values() if c.low is not None), default=0.0)) / 10)
    rows = -(-len(names) // COLUMNS)
    columns = min(COLUMNS, len(names))

    def line(label: str, name: str, what: str) -> list[float]:
        own = [cells.get((label, name if level else CLEAN, level)) for level in levels]
        return [np.nan if c is None or not c.measured else getattr(c, what) for c in own]

    def draw(figure: "Figure") -> None:
        panels = small_multiples(figure, len(names), columns, sharey=True)
        for axes, name in zip(panels.flat, names, strict=False):
            if low < LOG:
                axes.set_yscale("log")
                axes.set_ylim(floor, 1.05)
                power_ticks(axes.yaxis)
            else:
                axes.set_ylim(bottom, 1.02)
            for label in labels:
                mark = style[label]
                y = np.maximum(np.array(line(label, name, "value"), dtype=np.float64), floor if low < LOG else 0)
                if label in banded:
                    limits = [np.array(line(label, name, what), dtype=np.float64) for what in ("low", "high")]
                    limits[0] = np.maximum(limits[0], floor if low < LOG else 0)
                    axes.fill_between(levels, *limits, color=mark.color, alpha=0.15, linewidth=0)
                known: dict[str, Any] = {"linestyle": mark.dash, "linewidth": mark.width, "zorder": mark.order}
                marker = mark.marker if label in shown(records) else ""
                axes.plot(levels, y, color=mark.color, marker=marker, markersize=3, **known)
            about = records.study.corruptions.get(name, {})
            numbers = about.get("levels", [])
            ticks = ["clean" if k == 0 else f"{numbers[k - 1]:g}" if k <= len(numbers) else str(k) for k in levels]
            axes.set_xticks(levels, ticks)
            axes.tick_params(axis="x", labelsize=7)
            axes.set_title(name)
            axes.set_xlabel(about.get("unit", "level"), fontsize=7.5)
        for axes in panels[:, 0]:
            axes.set_ylabel("FNMR")
        legend(figure, records, labels)

    return draw, (9.0, 2.15 * rows + 0.5)


def _ranked(records: Records, cells: Cells) -> list[str]:
    """Labels from the lowest mean over all corruptions to the highest; those without one last."""
    name = _overall(cells)

    def place(label: str) -> float:
        cell = cells.get((label, name, None))
        return cell.value if cell is not None and cell.measured and cell.value is not None else 2.0

    return sorted(records.labels, key=place)


def _sentences(records: Records, compared: Differences) -> Iterable[str]:
    """Who is better on corrupted probes, and whom corruptions harm less: not the same."""
    overall = ALL if any(name == ALL for _, name, _ in compared) else next(name for _, name, _ in compared)
    base = short(records.baseline)
    for added, what in (
        (False, f"On corrupted probes, compared with {base}"),
        (
            True,
            f"In what corruption adds to the errors on clean images (robust, not just better), compared with {base}",
        ),
    ):
        by: dict[str, list[str]] = {}
        for (label, name, own), found in compared.items():
            if name == overall and own == added:
                by.setdefault(answer.verdict(found), []).append(short(label).replace("\n", " "))
        words = ("better", "worse", "no difference found", "diverged", "not measurable")
        said = [f"{word}: {listed(by[word]) if len(by[word]) < 9 else f'{len(by[word])} losses'}" for word in words
                if word in by]  # fmt: skip
        if said:
            yield f"{what}: {'; '.join(said)}."


def _table(records: Records, cells: Cells, compared: Differences, name: str) -> Safe:
    """A row a loss: clean, the mean over all with its differences to the baseline, and the mean of each corruption."""
    names, overall = names_of(cells), _overall(cells)
    means = [n for n in names if n != overall]
    header = head(
        "Loss", *numeric("Clean"), *numeric("Mean of all" if overall == ALL else f"{overall}, mean of levels"),
        *(["Difference", "Difference in what was added"] if compared else []), *numeric(*means),
    )  # fmt: skip
    columns = [(CLEAN, 0), (overall, None), *((n, None) for n in means)]
    decimals = digits(answer.spans(cell for key, cell in cells.items() if key[1:] in columns), most=4)
    body = []
    for label in _ranked(records, cells):
        why = absent(records, label)
        of = [measure(cells.get((label, *column)), decimals, why) for column in columns]
        judged = [
            difference(compared.get((label, overall, added)), decimals, records, label)
            for added in (False, True)
            if compared
        ]
        single = [_marked(of[2 + i], compared.get((label, n, False))) for i, n in enumerate(means)]
        named = tag("th", label, scope="row")
        body.append(row(named, *of[:2], *judged, *single))
    note = (
        "Means over the five levels, ± standard deviation over seeds, 95 % intervals. Differences are paired, with "
        "Holm's adjustment over the losses of a column. What was added is the mean less the clean FNMR; where that is "
        "near 1, little can be added."
    )
    return tag("div", table(header, body, name=name), tag("p", note, class_="note"))


def _marked(cell: Safe, found: Difference | None) -> Safe:
    """A cell with the sign of its verdict, where there is one to claim."""
    if found is None or answer.verdict(found) not in ("better", "worse"):
        return cell
    return Safe(cell.removesuffix("</td>") + verdict_chip(answer.verdict(found)) + "</td>")


def grids(records: Records) -> list[tuple[str, list[list[str]]]]:
    """The tables of the section as text, each with its title; the first row holds the names of the columns."""
    found = []
    for test, cells, compared in places(records):
        overall = _overall(cells)
        means = [n for n in names_of(cells) if n != overall]
        columns = [(CLEAN, 0), (overall, None), *((n, None) for n in means)]
        decimals = digits(answer.spans(cell for key, cell in cells.items() if key[1:] in columns), most=4)
        header = ["Loss", "Clean", "Mean of all" if overall == ALL else f"{overall}, mean of levels"]
        judged = ["Difference", "Verdict", "Difference in what was added", "Verdict on that"]
        rows = [[*header, *(judged if compared else []), *means]]
        for label in _ranked(records, cells):
            texts = [written(cells.get((label, *column)), decimals, absent(records, label)) for column in columns]
            said = []
            for gap in (compared.get((label, overall, added)) for added in (False, True) if compared):
                words = answer.outcome(records, label, gap) or "not compared"
                said += [written_difference(gap, decimals), "baseline" if label == records.baseline else words]
            rows.append([label, *texts[:2], *said, *texts[2:]])
        title = f"{test}: {_metric(next(iter(cells.values())))}"
        found.append((title, breakable(rows)))
    return found


LISTED = (
    "label", "loss", "test", "metric", "at", "corruption", "level", "amount", "unit", "status", "value", "low", "high",
    "spread", "seeds", "pairs", "baseline", "difference", "difference_low", "difference_high", "p", "p_holm", "verdict",
)  # fmt: skip


def listing(records: Records) -> list[list[str | float | None]]:
    """Every number of the section, unrounded: a row for each loss, corruption and level, the first row the names.

    Clean images are the corruption "clean" at level 0; without a level it is the mean over levels. Rows of the metric
    "added ..." are what corruption added to the errors on clean images, of which there is only the difference.
    """
    rows: list[list[str | float | None]] = []
    for test, cells, _ in places(records):
        for label in _ranked(records, cells):
            own = {_place(c): c for c in cells.values() if c.label == label}
            gaps = {_place(d): d for d in records.robust_differences if (d.label, d.test) == (label, test)}
            loss = next((run.loss for (name, _), run in records.runs.items() if name == label), "")
            for place in dict.fromkeys([*own, *gaps]):
                metric, name, level, at = place
                cell, gap = own.get(place), gaps.get(place)
                about = records.study.corruptions.get(name, {})
                amounts = about.get("levels", [])
                amount = amounts[level - 1] if level and level <= len(amounts) else None
                row_ = [label, loss, test, metric, at, name or "clean", level, amount, about.get("unit")]
                row_ += _fields(cell, ("status", "value", "low", "high", "spread", "seeds", "pairs"))
                row_ += _fields(gap, ("baseline", "value", "low", "high", "p", "p_holm"))
                rows.append([*row_, None if gap is None else answer.verdict(gap)])
    return [list(LISTED), *rows] if rows else []


def _place(record: Cell | Difference) -> tuple[str, str, int | None, float | None]:
    return record.metric, record.corruption, record.level, record.at


def _fields(record: Cell | Difference | None, names: Iterable[str]) -> list[str | float | None]:
    return [None if record is None else getattr(record, name) for name in names]
