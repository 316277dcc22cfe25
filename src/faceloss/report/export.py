"""The results for papers and spreadsheets: the tables in Markdown and LaTeX, every number behind them in CSV.

All three are functions of the records alone: the same records give the same bytes.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from io import StringIO

from faceloss.report import answer, cost_section, groups, robustness, searched, tables, why
from faceloss.report.records import Records
from faceloss.report.words import breakable, digits, number, place

Rows = Sequence[Sequence[str]]  # the first one holds the names of the columns
Raw = Sequence[Sequence[str | float | None]]


def grid(records: Records) -> Rows:
    """The one table of the page: a row a loss from the best to the worst, none left out."""
    key = answer.primary(records)
    keys = tables.main_columns(records)
    decimals = {k: digits(answer.spans(c for (_, n), c in records.summaries.items() if n == k)) for k in keys}
    compared = answer.compared(records, key)
    gap = digits(answer.spans(compared.values()), most=4)
    paid = {label: searched.paid(records, label) for label in records.labels}
    some = any(times is not None for times in paid.values())
    header = ["Loss", f"Difference to {records.baseline}", "Verdict", "Runs", *(["Images paid"] if some else [])]
    rows = [[*header, *(f"{place(k)}: {tables.column(records, k)}" for k in keys)]]
    for label in answer.ranked(records, key):
        row = compared.get(label)
        verdict = "baseline" if label == records.baseline else answer.outcome(records, label, row) or "not compared"
        difference = tables.written_difference(row, gap)
        if row is not None and row.baseline != records.baseline:
            difference = f"{difference} against {row.baseline}".strip()
        times = [f"{number(paid[label] or 1.0, 2)} ×"] if some else []
        absent = tables.absent(records, label)
        cells = [tables.written(tables.answer_or_refusal(records, label, k), decimals[k], absent) for k in keys]
        rows.append([label, difference, verdict, tables.status(records, label), *times, *cells])
    return breakable(rows)


def grids(records: Records) -> list[tuple[str, Rows, int]]:
    """All tables of the export: a title ("" for the one table), the rows, and how many columns are of words."""
    more = [(f"Groups, {found.test}", groups.grid(records, found), 1) for found in groups.places(records)]
    return [("", grid(records), 4), *more]


def markdown(records: Records) -> str:
    """Tables of GitHub's Markdown."""
    return "\n".join(_markdown(title, rows) for title, rows, _ in grids(records))


def _markdown(title: str, rows: Rows) -> str:
    (title,), header, *body = [
        [re.sub(r"([\\`*_<>|\[\]~$])", r"\\\1", text) for text in row] for row in ([title], *rows)
    ]
    rule = ["---"] * len(header)
    named = f"**{title}**\n\n" if title else ""
    return named + "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *body))


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "×": r"$\times$", "\u2212": "$-$", "–": "--", "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex(records: Records) -> str:
    r"""A ``tabular`` a table, with the rules of the package booktabs; text of any kind is escaped."""
    return "\n".join(_tabular(title, rows, words) for title, rows, words in grids(records))


def _tabular(title: str, rows: Rows, words: int) -> str:
    (title,), header, *body = [["".join(_LATEX.get(c, c) for c in text) for text in row] for row in ([title], *rows)]
    columns = ("l" * words).ljust(len(header), "r")
    lines = [
        *([rf"\paragraph{{{title}}}"] if title else []), rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        _line(header), r"\midrule", *map(_line, body), r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


COLUMNS = (
    "label", "loss", "test", "protocol", "metric", "at", "status", "value", "low", "high", "spread", "seeds", "pairs",
    "effective", "baseline", "difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "images_seen",
    "images_tried", "group", "other_group",
)  # fmt: skip


def comma_separated(records: Records) -> str:
    """A line for each loss and measure, unrounded; an empty field where there is no value."""
    rows: list[Sequence[str | float | None]] = [COLUMNS]
    for label in answer.ranked(records, answer.primary(records)):
        images = searched.images(records, label) or (None, None)
        for key in records.keys:
            cell = records.summaries.get((label, key))
            if cell is None:
                continue
            row = records.differences.get((label, key))
            gap: list[str | float | None] = [None] * 7
            if row is not None:
                gap = [row.baseline, row.value, row.low, row.high, row.p, row.p_holm, answer.verdict(row)]
            numbers = [cell.value, cell.low, cell.high, cell.spread, cell.seeds, cell.pairs, cell.effective]
            fields = [label, cell.loss, *key[:3], key.at, cell.status, *numbers, *gap, *images, "", ""]
            rows.append(fields)
    for found in groups.places(records):
        for label in groups.ranked(records, found):
            rows += _group_rows(records, found, label)
    return _lines(rows)


def _group_rows(records: Records, found: groups.Place, label: str) -> Iterator[list[str | float | None]]:
    """Every rate of a label's groups, with its difference to the baseline, or for "to the others" its own test."""
    images = searched.images(records, label) or (None, None)
    for (who, metric, group, other), cell in found.cells.items():
        if who != label:
            continue
        numbers = [cell.value, cell.low, cell.high, cell.spread, cell.seeds, cell.pairs, None]
        gap: list[str | float | None] = [None] * 7
        row = found.gaps.get((label, metric, group, other))
        if row is not None:
            words = answer.shown_verdict(row.verdict, row.seeds)
            gap = [row.baseline, row.value, row.low, row.high, row.p, row.p_holm, words]
        elif cell.verdict:
            gap[4:] = [cell.p, cell.p_holm, answer.shown_verdict(cell.verdict, cell.seeds)]
        head = [label, cell.loss, cell.test, "groups", metric, cell.at, cell.status]
        yield [*head, *numbers, *gap, *images, group, other]


def why_table(records: Records, name: str) -> str:
    """The tables of the section "Why" in the format ``name``; "" where there is none."""
    return _lines(why.grid(records, raw=True)) if name == "csv" else _tables([("", why.grid(records))], name)


def robustness_table(records: Records, name: str) -> str:
    """FNMR under corruptions: as "csv" a line for each loss, corruption and level, else the tables of the page."""
    return _lines(robustness.listing(records)) if name == "csv" else _tables(robustness.grids(records), name)


def cost_table(records: Records, name: str) -> str:
    """What it cost: as "csv" a line for each run, else a row a loss with medians over seeds."""
    return _lines(cost_section.listing(records)) if name == "csv" else _tables([("", cost_section.grid(records))], name)


def curve_table(records: Records, name: str) -> str:
    """The curves of every run as "csv", a line a point; "" in formats for print, where they are figures.

    x and y are FAR and FRR of "det", rank and share of probes of "cmc", FPIR and FNIR of "open set" in a ``gallery``,
    the left edge of a bin and its density of "genuine scores" and "impostor scores".
    """
    if name != "csv":
        return ""
    rows: list[Sequence[str | float | None]] = [
        ("curve", "test", "label", "seed", "gallery", "extrapolated_from", "x", "y", "low", "high")
    ]
    for curve in records.curves:
        nothing = [None] * len(curve.far)
        found = {
            "det": zip(curve.far, curve.frr, curve.low or nothing, curve.high or nothing, strict=False),
            "cmc": ((rank, rate, None, None) for rank, rate in zip(curve.rank, curve.rate, strict=False)),
            "genuine scores": ((x, y, None, None) for x, y in zip(curve.edges, curve.genuine, strict=False)),
            "impostor scores": ((x, y, None, None) for x, y in zip(curve.edges, curve.impostor, strict=False)),
        }
        for kind, points in found.items():
            rows += [(kind, curve.test, curve.label, curve.seed, None, None, *point) for point in points]
    for one in records.open_sets:
        head = ("open set", one.test, one.label, one.seed, one.gallery, one.extrapolated_from)
        rows += [(*head, x, y, None, None) for x, y in zip(one.fpir, one.fnir, strict=False)]
    return _lines(rows) if len(rows) > 1 else ""


def _lines(rows: Raw) -> str:
    """Rows of CSV; an empty field where there is no value."""
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _tables(found: Sequence[tuple[str, Rows]], name: str) -> str:
    """Tables (title, rows) in the format ``name``, "markdown" or "latex"; those without rows are left out."""
    some = [(title, rows) for title, rows in found if rows]
    return "\n".join(_markdown(*table) if name == "markdown" else _tabular(*table, words=1) for table in some)


SECTIONS: dict[str, Callable[[Records, str], str]] = {  # by the end of the file's name
    "robustness": robustness_table,
    "why": why_table,
    "cost": cost_table,
    "curves": curve_table,
}
FORMATS: dict[str, tuple[str, Callable[[Records], str]]] = {  # suffix of the file, and what is in it
    "csv": ("csv", comma_separated),
    "markdown": ("md", markdown),
    "latex": ("tex", latex),
}
