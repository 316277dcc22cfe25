"""The section on groups: error rates of each group at one threshold for all, and what a loss does to them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faceloss.report import answer, charts
from faceloss.report.kinds import Group, GroupDifference
from faceloss.report.markup import Child, Safe, head, numeric, row, table, tag
from faceloss.report.records import Records
from faceloss.report.tables import verdict_chip
from faceloss.report.words import breakable, count, digits, interval, listed, number, plural, power, signed

RATES = {"fnmr": "FNMR", "fmr": "FMR", "accuracy": "accuracy"}
MEANING = {
    "fnmr": "share of the genuine pairs of a group that the threshold rejects; 1 - FNMR is its TAR",
    "fmr": "share of the impostor pairs within a group that it accepts",
    "accuracy": "share of the pairs of a group that are judged right, each fold at the threshold that is best on the "
    "other folds of all groups together",
}
HIGHER = ("accuracy", "accuracy to the others")  # is better
MOST_ROWS = 1200  # rows of a table that is folded away; with more, only those of the losses in color


class Place(NamedTuple):
    """The group rates of one test: by (label, metric, group, other), gaps under two empty names."""

    test: str
    at: float | None
    names: list[str]
    cells: dict[tuple[str, str, str, str], Group]
    gaps: dict[tuple[str, str, str, str], GroupDifference]  # to the baseline


def places(records: Records) -> list[Place]:
    """One for each test that knows of groups."""
    found = []
    for test in dict.fromkeys(g.test for g in records.groups):
        here = [g for g in records.groups if g.test == test]
        names = sorted({name for g in here for name in (g.group, g.other) if name})
        gaps = {(d.label, d.metric, d.group, d.other): d for d in records.group_differences if d.test == test}
        cells = {(g.label, g.metric, g.group, g.other): g for g in here}
        found.append(Place(test, next((g.at for g in here if g.at), None), names, cells, gaps))
    return found


def ranked(records: Records, place: Place) -> list[str]:
    """Labels with any rate of a group, in the order of the one table."""
    known = {label for label, *_ in place.cells}
    return [label for label in answer.ranked(records, answer.primary(records)) if label in known]


def rates(place: Place) -> dict[str, str]:
    """The rates that this test has, with their names; only a pair list has accuracies."""
    return {metric: name for metric, name in RATES.items() if any(key[1] == metric for key in place.cells)}


def worst(place: Place, label: str, metric: str) -> list[str]:
    """The groups with the highest error rate; none unless all groups are measurable and two differ."""
    cells = {name: place.cells.get((label, metric, name, "")) for name in place.names}
    known = {name: cell.value for name, cell in cells.items() if cell and cell.measured and cell.value is not None}
    if len(known) < len(place.names) or len(set(known.values())) < 2:
        return []
    extreme = min(known.values()) if metric in HIGHER else max(known.values())
    return [name for name, value in known.items() if value == extreme]


def ratio(place: Place, label: str, metric: str) -> str:
    """Largest over smallest error rate, "not measurable" unless every group is and the smallest has an error."""
    cells = [place.cells.get((label, metric, name, "")) for name in place.names]
    values = [cell.value for cell in cells if cell and cell.measured and cell.value is not None]
    values = [1 - value for value in values] if metric in HIGHER else values
    if len(values) < len(place.names) or len(values) < 2 or min(values) <= 0:
        return "not measurable"
    return f"{number(max(values) / min(values), 2)} ×"


def section(records: Records) -> list[Child]:
    """Everything on groups; empty where no test has any."""
    parts: list[Child] = []
    for place in places(records):
        labels, known = ranked(records, place), rates(place)
        far = f" at FAR {power(place.at)}" if place.at else ""
        parts += [
            tag("h3", f"{place.test}: one threshold for all{far}"),
            tag(
                "p", "Every loss has a single threshold, set over all impostor pairs of the test. The gap is the "
                "highest rate minus the lowest; it is above 0 even where all groups are equal, because the data choose "
                "the two. Whether a group differs is therefore asked of each against the mean of the others. Lower is "
                f"better everywhere{' but in accuracy' if 'accuracy' in known else ''}; a grey cell has too few pairs.",
                class_="note",
            ),
            *[tag("p", sentence) for sentence in findings(records, place)],
            *[tag("p", f"{_begun(note)}.", class_="note") for note in notes(place)],
            _who(records, place),
        ]  # fmt: skip
        for metric, name in known.items():
            parts += [tag("h4", f"{_begun(name)}: {MEANING[metric]}"), _rates(records, place, labels, metric)]
        parts += _matrices(records, place, labels)
        parts += _listing(records, place, labels)
    return parts


def findings(records: Records, place: Place) -> list[str]:
    """What the tests say: which groups differ under baseline and best loss, and which losses change the gap."""
    said = []
    labels = ranked(records, place)
    for label in dict.fromkeys([records.baseline, *labels[:1]]):
        keys = [(label, f"{metric} to the others", group, "") for metric in RATES for group in place.names]
        cells = [cell for key in keys if (cell := place.cells.get(key)) is not None and cell.value is not None]
        decimals = digits(_spans(cells), most=4)
        different = [c for c in cells if answer.shown_verdict(c.verdict, c.seeds) in ("better", "worse")]
        if different:
            told = [
                f"{RATES[c.metric.split()[0]]} of {c.group} was {'higher' if (c.value or 0.0) > 0 else 'lower'} "
                f"({signed(c.value or 0.0, decimals)} {interval(c.low, c.high, decimals, sign=True)})"
                for c in sorted(different, key=lambda c: (c.value or 0.0) * (1 if c.metric in HIGHER else -1))
            ]
            said.append(f"Under {label}, against the mean of the other groups: {listed(told)}.")
        elif cells:
            said.append(f"Under {label}, no difference found between any group and the mean of the others.")
        elif label in labels:
            said.append(f"Under {label}, whether groups differ is not measurable.")
    for metric, name in rates(place).items():
        by: dict[str, list[str]] = {}
        for label in labels:
            gap = place.gaps.get((label, f"{metric} gap", "", ""))
            if gap is not None:
                by.setdefault(answer.shown_verdict(gap.verdict, gap.seeds), []).append(label)
        order = ("better", "worse", "no difference found", "not measurable")
        parts = [f"{words}: {_few(by[words])}" for words in order if words in by]
        if parts:
            said.append(f"The gap in {name} against that of {records.baseline}: {'; '.join(parts)}.")
    return said


def notes(place: Place) -> list[str]:
    """What was remarked on the rates themselves, such as images without a group."""
    return list(
        dict.fromkeys(c.note for (_, rate, *_), c in place.cells.items() if rate in RATES and c.measured and c.note)
    )


def _begun(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _few(labels: list[str]) -> str:
    return listed(labels if len(labels) < 6 else [*labels[:4], f"{len(labels) - 4} more"])


def _who(records: Records, place: Place) -> Safe:
    """Images and identities of each group in training and in the test."""
    train = next((d for d in records.data if d.role == "train"), None)
    test = next((d for d in records.data if d.role == "test" and d.name == place.test), None)
    names = sorted({*place.names, *(train.groups if train else ())})
    header = head(
        "Group", *numeric("Training identities", "Training images", "Test identities", "Test images"),
    )  # fmt: skip
    body = []
    for name in names:
        cells = []
        for data in (train, test):
            for counts in (data.group_identities, data.groups) if data else ({}, {}):
                cells.append(tag("td", count(counts.get(name, 0)) if counts else "–", class_="n"))
        body.append(row(tag("th", name, scope="row"), *cells))
    return table(header, body, name=f"Groups in training and in {place.test}")


def _spans(cells: Iterable[Group | GroupDifference | None]) -> list[float | None]:
    known = [c for c in cells if c is not None and c.low is not None and c.high is not None]
    return [(c.high or 0.0) - (c.low or 0.0) for c in known]


def _rates(records: Records, place: Place, labels: Sequence[str], metric: str) -> Safe:
    """A row a loss: the rate of every group, the largest over the smallest, the gap and its difference."""
    keys = [(metric, name, "") for name in place.names] + [(f"{metric} gap", "", "")]
    decimals = {k: digits(_spans(place.cells.get((x, *k)) for x in labels), most=4) for k in keys}
    apart = digits(_spans(place.gaps.get((x, f"{metric} gap", "", "")) for x in labels), most=4)
    times = "Error ratio" if metric in HIGHER else "Highest / lowest"
    header = head("Loss", *numeric(*place.names, times, "Gap"), f"Gap, difference to {records.baseline}")
    body = []
    for label in labels:
        high = worst(place, label, metric)
        cells = [_rate(place.cells.get((label, *k)), decimals[k], k[1] in high) for k in keys]
        times = ratio(place, label, metric)
        shown = tag("td", times, class_="n absent" if times == "not measurable" else "n")
        gap = place.gaps.get((label, f"{metric} gap", "", ""))
        last = _gap(gap, apart) if label != records.baseline else tag("td", "baseline", class_="absent")
        base = "base" if label == records.baseline else None
        body.append(row(tag("th", label, scope="row"), *cells[:-1], shown, cells[-1], last, class_=base))
    return table(header, body, name=f"{_begun(RATES[metric])} of each group on {place.test}")


def _rate(cell: Group | None, decimals: int, highest: bool = False) -> Safe:
    if cell is None:
        return tag("td", "not measured", class_="n absent")
    if not cell.measured or cell.value is None:
        few = tag("small", plural(int(cell.pairs), "pair")) if cell.pairs else None
        return tag("td", "not measurable", few, class_="n absent")
    limits = interval(cell.low, cell.high, decimals)
    shown = number(cell.value, decimals)
    marked = [tag("b", shown), tag("small", "worst")] if highest else shown
    return tag("td", marked, tag("small", limits) if limits else None, class_="n")


def _gap(gap: GroupDifference | None, decimals: int) -> Safe:
    if gap is None:
        return tag("td", "not compared", class_="absent")
    chip = verdict_chip(answer.shown_verdict(gap.verdict, gap.seeds))
    if gap.value is None:
        return tag("td", chip)
    limits = f"{signed(gap.value, decimals)} {interval(gap.low, gap.high, decimals, sign=True)}"
    return tag("td", chip, tag("small", limits))


def _matrices(records: Records, place: Place, labels: list[str]) -> list[Child]:
    """FMR between every two groups, where there are such pairs: of baseline and best loss, the others folded away."""
    if not any(metric == "fmr" and other for _, metric, _, other in place.cells):
        return []
    first = [label for label in dict.fromkeys([*labels[:1], records.baseline]) if label in labels]
    rest, left_out = _bounded(records, [x for x in labels if x not in first], len(place.names))
    parts: list[Child] = [
        tag("h4", "FMR between groups"),
        _matrix(place, first, f"FMR between groups on {place.test}"),
    ]
    if rest:
        folded = _matrix(place, rest, f"FMR between groups on {place.test}, other losses")
        note = tag("p", f"Only in report.csv: {_few(left_out)}.", class_="note") if left_out else None
        parts.append(tag("details", tag("summary", f"The same of {plural(len(rest), 'other')}"), folded, note))
    return parts


def _bounded(records: Records, labels: list[str], rows_each: int) -> tuple[list[str], list[str]]:
    """The labels whose rows fit into a folded table, and those that do not."""
    if len(labels) * rows_each <= MOST_ROWS:
        return labels, []
    kept = [x for x in labels if x in charts.shown(records)][: max(1, MOST_ROWS // max(1, rows_each))]
    return kept, [x for x in labels if x not in kept]


def _matrix(place: Place, labels: list[str], name: str) -> Safe:
    body = []
    for label in labels:
        pairs = {(g, h) for who, metric, g, h in place.cells if who == label and metric == "fmr"}
        decimals = digits(_spans(place.cells[label, "fmr", g, h] for g, h in pairs), most=4)
        for i, g in enumerate(place.names):
            cells = [tag("td", label if i == 0 else ""), tag("th", g, scope="row")]
            for j, h in enumerate(place.names):
                key = (label, "fmr", *((g, h) if (g, h) in pairs else (h, g)))
                twin = (label, "fmr", g, "") if i == j else key
                cells.append(tag("td") if j < i else _rate(place.cells.get(twin), decimals))
            body.append(row(*cells))
    return table(head("Loss", "Group", *numeric(*place.names)), body, name=name)


def _listing(records: Records, place: Place, labels: list[str]) -> list[Child]:
    """Every difference to the baseline, folded away."""
    each = max((sum(1 for who, *_ in place.gaps if who == label) for label in labels), default=0)
    kept, left_out = _bounded(records, [x for x in labels if x != records.baseline], each)
    rows = [(d, cell_name(d)) for label in kept for (who, *_), d in place.gaps.items() if who == label]
    if not rows:
        return []
    body = []
    for d, what in rows:
        decimals = digits(_spans([d]), most=4)
        ps = [tag("td", "–" if p is None else f"{p:.3f}", class_="n") for p in (d.p, d.p_holm)]
        shown = "–" if d.value is None else signed(d.value, decimals)
        limits = interval(d.low, d.high, decimals, sign=True) or "–"
        chip = tag("td", verdict_chip(answer.shown_verdict(d.verdict, d.seeds)))
        body.append(row(d.label, what, *[tag("td", x, class_="n") for x in (shown, limits)], *ps, chip))
    header = head("Loss", "Measure", *numeric("Difference", "95 % interval", "p", "p (Holm)"), "Verdict")
    listing = table(header, body, name=f"Group differences to the baseline on {place.test}")
    note = tag("p", f"Only in report.csv: {_few(left_out)}.", class_="note") if left_out else None
    summary = f"Differences to {records.baseline}, group by group ({len(rows)})"
    return [tag("details", tag("summary", summary), listing, note)]


def cell_name(cell: Group | GroupDifference) -> str:
    """``FNMR of north``, ``FMR between east and west``, ``FNMR gap``, ``FMR of west minus the others``."""
    rate, _, rest = cell.metric.partition(" ")
    name = RATES.get(rate, rate)
    if cell.other and not rest:
        return f"{name} between {cell.group} and {cell.other}"
    return f"{name} of {cell.group}{' minus the others' if rest else ''}" if cell.group else f"{name} {rest}".rstrip()


def grid(records: Records, place: Place) -> list[list[str]]:
    """The two tables of rates as text, for Markdown and LaTeX; the first row holds the names of the columns."""
    labels = ranked(records, place)
    header, body = ["Loss"], [[label] for label in labels]
    for metric, name in rates(place).items():
        keys = [(metric, group, "") for group in place.names] + [(f"{metric} gap", "", "")]
        decimals = {k: digits(_spans(place.cells.get((x, *k)) for x in labels), most=4) for k in keys}
        header += [*(f"{name} of {group}" for group in place.names), f"{name} gap", f"{name} gap, verdict"]
        for line, label in zip(body, labels, strict=True):
            for k in keys:
                cell = place.cells.get((label, *k))
                if cell is None or cell.value is None or not cell.measured:
                    line.append("not measured" if cell is None else "not measurable")
                else:
                    shown = f"{number(cell.value, decimals[k])} {interval(cell.low, cell.high, decimals[k])}"
                    line.append(shown.rstrip())
            gap = place.gaps.get((label, f"{metric} gap", "", ""))
            words = answer.shown_verdict(gap.verdict, gap.seeds) if gap else "not compared"
            line.append("baseline" if label == records.baseline else words)
    return breakable([header, *body])
