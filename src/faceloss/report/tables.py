"""The tables of results: the one table of all losses, and every number behind it."""

from collections import Counter
from collections.abc import Iterable
from statistics import median

from faceloss.report import answer, searched
from faceloss.report.kinds import Cell, Difference, Key
from faceloss.report.markup import Child, Safe, head, numeric, row, table, tag
from faceloss.report.records import Records
from faceloss.report.words import (
    count,
    digits,
    duration,
    interval,
    listed,
    memory,
    metric,
    number,
    place,
    power,
    signed,
)

_SIGN = {"better": "▲", "worse": "▼", "no difference found": "○", "diverged": "✕"}
_CLASS = {"better": "better", "worse": "worse", "no difference found": "none", "diverged": "diverged"}


def verdict_chip(words: str) -> Safe:
    """The verdict with a sign, so that it is read without color."""
    sign = f"{_SIGN[words]} " if words in _SIGN else ""
    return tag("span", sign + words, class_=f"v {_CLASS.get(words, 'unmeasurable')}")


def absent(records: Records, label: str) -> str:
    """Why a label has no number: diverged, not run yet, or not measured."""
    bad = answer.stopped(records, label)
    if bad and not answer.finished(records, label):
        return records.runs[label, bad[0]].status
    if not any(name == label for name, _ in records.runs):
        return "not run yet"
    return "not measured"


def measure(cell: Cell | None, decimals: int, otherwise: str, *, group: bool = False) -> Safe:
    """One number: value ± spread over seeds, its interval below; or the words why there is none."""
    class_ = "n group" if group else "n"
    if cell is None:
        return tag("td", otherwise, class_=f"{class_} absent")
    if not cell.measured or cell.value is None:
        return tag("td", "not measurable", class_=f"{class_} absent")
    spread = f" ± {number(cell.spread, decimals)}" if cell.spread is not None else ""
    limits = interval(cell.low, cell.high, decimals)
    return tag("td", number(cell.value, decimals), spread, tag("small", limits) if limits else None, class_=class_)


def written(cell: Cell | None, decimals: int, otherwise: str) -> str:
    """What :func:`measure` shows, as one line of text."""
    if cell is None:
        return otherwise
    if not cell.measured or cell.value is None:
        return "not measurable"
    spread = f" ± {number(cell.spread, decimals)}" if cell.spread is not None else ""
    return f"{number(cell.value, decimals)}{spread} {interval(cell.low, cell.high, decimals)}".rstrip()


def written_difference(row_: Difference | None, decimals: int) -> str:
    """A difference with its interval as one line of text; "" where there is none."""
    if row_ is None or row_.value is None or answer.verdict(row_) == "diverged":
        return ""
    return f"{signed(row_.value, decimals)} {interval(row_.low, row_.high, decimals, sign=True)}"


def difference(row_: Difference | None, decimals: int, records: Records, label: str) -> Safe:
    """Difference to the baseline, its interval, and the verdict."""
    if label == records.baseline:
        return tag("td", "baseline", class_="absent")
    words = answer.outcome(records, label, row_)
    if row_ is None:
        return tag("td", verdict_chip(words) if words else "not compared", class_=None if words else "absent")
    against = tag("small", f"against {row_.baseline}") if row_.baseline != records.baseline else None
    if row_.value is None or words == "diverged":
        return tag("td", verdict_chip(words), against)
    gap = f"{signed(row_.value, decimals)} {interval(row_.low, row_.high, decimals, sign=True)}"
    return tag("td", verdict_chip(words), tag("small", gap), against)


def status(records: Records, label: str) -> str:
    """``3 finished``, ``2 finished, 1 diverged``, ``not run yet``."""
    found = Counter(run.status for (name, _), run in records.runs.items() if name == label)
    parts = [f"{found[s]} {s}" for s in ("finished", "diverged", "collapsed", "failed") if found[s]]
    absent_ = sum(1 for name, _ in records.missing if name == label)
    if absent_:
        parts.append(f"{absent_} not run yet" if parts else "not run yet")
    return ", ".join(parts)


def _paid(records: Records, label: str) -> Safe | None:
    times = searched.paid(records, label)
    return tag("small", f"search: {number(times, 2)} × the images") if times is not None else None


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _cost_cells(records: Records, label: str) -> list[Safe]:
    """What a finished run cost, and of a search what all candidates cost: a search of width B pays B times."""
    costs = [records.costs[label, s] for s in answer.finished(records, label) if (label, s) in records.costs]
    time, images = searched.seconds(records, label), searched.images(records, label)
    shown = [
        duration(time[0] if time else None),
        count(images[0] if images else None),
        count(_middle(c.images_per_second for c in costs)),
        memory(_middle(c.peak_memory_mib for c in costs)),
    ]
    all_: list[str] = ["", "", "", ""]
    if searched.paid(records, label) is not None and images:
        all_[1] = f"{count(images[1])} by all candidates"
        all_[0] = f"{duration(time[1])} for all candidates" if time else ""
    return [
        tag("td", text, tag("small", more) if more else None, class_="n group" if i == 0 else "n")
        for i, (text, more) in enumerate(zip(shown, all_, strict=True))
    ]


def _refused(records: Records, key: Key) -> bool:
    cells = [c for c in [*records.summaries.values(), *records.results.values()] if c.key == key]
    return not any(c.measured for c in cells)


def columns(records: Records) -> list[Key]:
    """The keys of the one table: of several FARs that no loss can be measured at only the highest stands for all."""
    keys: list[Key] = []
    for key in records.keys:
        last = keys[-1] if keys else None
        if last is None or last[:3] != key[:3] or not (_refused(records, last) and _refused(records, key)):
            keys.append(key)
    return keys


def main_columns(records: Records) -> list[Key]:
    """Those of the one table; open sets have a section of their own."""
    return [key for key in columns(records) if key.metric != "tpir"]


def column(records: Records, key: Key) -> str:
    """The name of a column; of several FARs that no loss can be measured at one name stands for all."""
    below = any(k[:3] == key[:3] and (k.at or 0.0) < (key.at or 0.0) for k in records.keys)
    name = metric(key).replace("FAR ", "FAR\u00a0")
    return f"{name} and below" if below and key.metric != "rank" and _refused(records, key) else name


def _unbroken(name: str) -> list[Child]:
    """The name of a column whose FAR is not broken at its minus sign."""
    before, far, after = name.partition("FAR\u00a0")
    exponent, space, rest = after.partition(" ")
    return [before, tag("span", far + exponent, class_="far") if far else None, space + rest]


def main_table(records: Records) -> Safe:
    """Rows are losses, columns every test side by side; the best on top, none left out."""
    key = answer.primary(records)
    keys = main_columns(records)
    decimals = {k: digits(answer.spans(c for (_, n), c in records.summaries.items() if n == k)) for k in keys}
    rows = answer.compared(records, key)
    gap = digits(answer.spans(rows.values()), most=4)
    places = Counter((k.test, k.protocol) for k in keys)
    first = {next(k for k in keys if k[:2] == place_) for place_ in places}
    fixed = [
        tag("th", "Loss", scope="col", rowspan=2, class_="corner"),
        tag(
            "th", f"Difference to {records.baseline}", tag("small", f"{metric(key)}, {key.test}") if key else None,
            scope="col", rowspan=2,
        ),
        tag("th", "Runs", scope="col", rowspan=2),
    ]  # fmt: skip
    tests = [
        tag("th", test, tag("small", protocol), scope="colgroup", colspan=n, class_="group")
        for (test, protocol), n in places.items()
    ]
    costs = tag("th", "Cost of one run", tag("small", "median over seeds"), scope="colgroup", colspan=4, class_="group")
    names = [
        tag(
            "th", _unbroken(column(records, k)),
            tag("small", "diagnostic") if k.metric in answer.DIAGNOSTIC else None,
            tag("small", "ranks") if k == key else None, scope="col", class_="n group" if k in first else "n",
        )
        for k in keys
    ]  # fmt: skip
    cost_names = [
        tag("th", name, scope="col", class_="n group" if i == 0 else "n")
        for i, name in enumerate(("Time", "Images seen", "Images/s", "Peak memory"))
    ]
    header = tag("thead", tag("tr", fixed, tests, costs, class_="tests"), tag("tr", names, cost_names))
    body = [
        row(
            tag("th", label, scope="row"),
            difference(rows.get(label), gap, records, label),
            tag("td", status(records, label), _paid(records, label)),
            *[
                measure(answer_or_refusal(records, label, k), decimals[k], absent(records, label), group=k in first)
                for k in keys
            ],
            *_cost_cells(records, label),
            class_="base" if label == records.baseline else None,
        )
        for label in answer.ranked(records, key)
    ]
    return table(header, body, name="All losses side by side", class_="main")


def remarks(records: Records) -> Safe | None:
    """What was said about a loss before it was trained, such as a scale that is too small for its classes."""
    said = dict.fromkeys((run.label, remark) for run in records.runs.values() for remark in run.remarks)
    order = {label: place for place, label in enumerate(records.labels)}
    items = [tag("li", tag("b", label), f": {remark}") for label, remark in sorted(said, key=lambda x: order[x[0]])]
    return tag("ul", items, class_="note") if items else None


def answer_or_refusal(records: Records, label: str, key: Key) -> Cell | None:
    """The summary; before there is one the only measured seed; a refusal of any seed counts as a refusal."""
    cell = records.summaries.get((label, key)) or answer.value(records, label, key)
    if cell is None:
        cells = [c for c in records.results.values() if c.label == label and c.key == key]
        cell = next((c for c in cells if not c.measured), None)
    return cell


def all_results(records: Records) -> list[Child]:
    """Per test: every summary with attained FAR, pairs and effective n; values of each seed folded away."""
    parts: list[Child] = []
    for here in dict.fromkeys(k[:2] for k in records.keys):
        keys = [k for k in columns(records) if k[:2] == here]
        names = {k: column(records, k) for k in keys}
        parts.append(tag("h3", place(keys[0])))
        cells = [records.summaries[x, k] for k in keys for x in records.labels if (x, k) in records.summaries]
        if cells:
            parts.append(_summaries(cells, names, f"Summaries, {place(keys[0])}"))
        else:
            parts.append(tag("p", "No summary over seeds has been written for this test yet.", class_="note"))
        parts.append(_notes([c for k in keys for c in records.results.values() if c.key == k and c.note]))
        seeds = [c for k in keys for c in records.results.values() if c.key == k]
        if seeds:
            parts.append(tag("details", tag("summary", f"Values of each seed ({len(seeds)})"), _seeds(seeds, names)))
        gaps = [d for k in keys for d in records.differences.values() if d.key == k]
        if gaps:
            named = f"Differences to the baseline ({len(gaps)})"
            parts.append(tag("details", tag("summary", named), _gaps(gaps, names)))
    return parts


def _notes(cells: list[Cell]) -> Safe | None:
    """What the evaluation remarked on its numbers, each remark once with the measures it is about."""
    about: dict[str, list[str]] = {}
    for cell in cells:
        names = about.setdefault(cell.note, [])
        names += [metric(cell.key)] if metric(cell.key) not in names else []
    items = [tag("li", f"{listed(names)}: {note}") for note, names in about.items()]
    return tag("ul", items, class_="note") if items else None


def _number_cells(cell: Cell, decimals: int) -> list[Safe]:
    if not cell.measured or cell.value is None:
        return [tag("td", "not measurable", class_="n absent"), tag("td", "–", class_="n absent")]
    limits = interval(cell.low, cell.high, decimals) or "–"
    return [tag("td", number(cell.value, decimals), class_="n"), tag("td", limits, class_="n")]


def _attained(cells: list[Cell]) -> str:
    return "Attained FPIR" if cells[0].metric == "tpir" else "Attained FAR"


def _support(cell: Cell) -> list[Safe]:
    attained = power(cell.attained) if cell.attained is not None else "–"
    return [tag("td", text, class_="n") for text in (attained, count(cell.pairs), count(cell.effective))]


def _summaries(cells: list[Cell], names: dict[Key, str], name: str) -> Safe:
    decimals = {k: digits(answer.spans(c for c in cells if c.key == k)) for k in {c.key for c in cells}}
    header = head(
        "Measure",
        "Loss",
        *numeric("Mean", "95 % interval", "Spread", "Seeds", _attained(cells), "Pairs", "Effective n"),
    )
    body = []
    before = None
    for cell in cells:
        d = decimals[cell.key]
        body.append(
            row(
                tag("td", names[cell.key] if cell.key != before else ""),
                cell.label,
                *_number_cells(cell, d),
                tag("td", number(cell.spread, d) if cell.spread is not None else "–", class_="n"),
                tag("td", count(cell.seeds), class_="n"),
                *_support(cell),
            )
        )
        before = cell.key
    return table(header, body, name=name)


def _seeds(cells: list[Cell], names: dict[Key, str]) -> Safe:
    decimals = {k: digits(answer.spans(c for c in cells if c.key == k)) for k in {c.key for c in cells}}
    header = head(
        "Measure", "Loss", *numeric("Seed", "Value", "95 % interval", _attained(cells), "Pairs", "Effective n")
    )
    body = [
        row(
            names[c.key], c.label, tag("td", "–" if c.seed is None else str(c.seed), class_="n"),
            *_number_cells(c, decimals[c.key]), *_support(c),
        )
        for c in cells
    ]  # fmt: skip
    return table(header, body, name="Values of each seed")


def _gaps(rows: list[Difference], names: dict[Key, str]) -> Safe:
    header = head(
        "Measure", "Loss", "Against", *numeric("Difference", "95 % interval", "p", "p (Holm)", "Seeds"), "Verdict"
    )
    body = []
    for d in rows:
        places = digits(answer.spans(x for x in rows if x.key == d.key), most=4)
        body.append(
            row(
                names[d.key], d.label, d.baseline,
                tag("td", "–" if d.value is None else signed(d.value, places), class_="n"),
                tag("td", interval(d.low, d.high, places, sign=True) or "–", class_="n"),
                *[tag("td", "–" if p is None else f"{p:.3f}", class_="n") for p in (d.p, d.p_holm)],
                tag("td", count(d.seeds), class_="n"), tag("td", verdict_chip(answer.verdict(d))),
            )
        )  # fmt: skip
    return table(header, body, name="Differences to the baseline")
