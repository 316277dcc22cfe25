"""The results for papers and spreadsheets: the one table in Markdown and LaTeX, every number behind it in CSV.

All three are functions of the records alone: the same records give the same bytes.
"""

import csv
import re
from collections.abc import Callable, Sequence
from io import StringIO

from faceloss.report import answer, searched, tables, why
from faceloss.report.kinds import Cell
from faceloss.report.records import Records
from faceloss.report.words import digits, interval, number, place, signed

Rows = list[list[str]]  # the first one holds the names of the columns


def grid(records: Records) -> Rows:
    """The one table of the page: a row a loss from the best to the worst, none left out."""
    key = answer.primary(records)
    keys = tables.columns(records)
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
        difference = ""
        if row is not None and row.value is not None and verdict != "diverged":
            difference = f"{signed(row.value, gap)} {interval(row.low, row.high, gap, sign=True)}"
        if row is not None and row.baseline != records.baseline:
            difference = f"{difference} against {row.baseline}".strip()
        times = [f"{number(paid[label] or 1.0, 2)} ×"] if some else []
        cells = [_cell(tables.answer_or_refusal(records, label, k), decimals[k], records, label) for k in keys]
        rows.append([label, difference, verdict, tables.status(records, label), *times, *cells])
    return [[text.replace("\u00a0", " ") for text in row] for row in rows]


def _cell(cell: Cell | None, decimals: int, records: Records, label: str) -> str:
    if cell is None:
        return tables.absent(records, label)
    if not cell.measured or cell.value is None:
        return "not measurable"
    spread = f" ± {number(cell.spread, decimals)}" if cell.spread is not None else ""
    return f"{number(cell.value, decimals)}{spread} {interval(cell.low, cell.high, decimals)}".rstrip()


def markdown(records: Records) -> str:
    """The one table as GitHub's Markdown."""
    return _markdown(grid(records))


def _markdown(rows: Rows) -> str:
    header, *body = [[re.sub(r"([\\`*_<>|\[\]~$])", r"\\\1", text) for text in row] for row in rows]
    rule = ["---"] * len(header)
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *body))


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "×": r"$\times$", "\u2212": "$-$", "–": "--", "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex(records: Records) -> str:
    r"""The one table as a ``tabular`` with the rules of the package booktabs; text of any kind is escaped."""
    return _latex(grid(records), words=4)


def _latex(rows: Rows, words: int) -> str:
    """The first ``words`` columns are of words, the others of numbers."""
    header, *body = [["".join(_LATEX.get(c, c) for c in text) for text in row] for row in rows]
    columns = ("l" * words).ljust(len(header), "r")
    lines = [
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _line(header), r"\midrule", *map(_line, body),
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


COLUMNS = (
    "label", "loss", "test", "protocol", "metric", "at", "status", "value", "low", "high", "spread", "seeds", "pairs",
    "effective", "baseline", "difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "images_seen",
    "images_tried",
)  # fmt: skip


def comma_separated(records: Records) -> str:
    """A line for each loss and measure, unrounded; an empty field where there is no value."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
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
            fields = [label, cell.loss, *key[:3], key.at, cell.status, *numbers, *gap, *images]
            writer.writerow(["" if field is None else field for field in fields])
    return out.getvalue()


def why_table(records: Records, name: str) -> str:
    """The tables of the section "Why" in the format ``name``; "" where there is none."""
    rows = why.grid(records, raw=name == "csv")
    if not rows or name == "markdown":
        return _markdown(rows) if rows else ""
    if name == "latex":
        return _latex(rows, words=1)
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


SECTIONS: dict[str, Callable[[Records, str], str]] = {"why": why_table}  # end of the file's name
FORMATS: dict[str, tuple[str, Callable[[Records], str]]] = {  # suffix of the file, and what is in it
    "csv": ("csv", comma_separated),
    "markdown": ("md", markdown),
    "latex": ("tex", latex),
}
