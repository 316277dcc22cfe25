"""What the study says, in at most three sentences and the fixed words of the rules.

The words are: better (worse), no difference found, not measurable, diverged. A label is ranked by one number only, the
primary: TAR by identity (TAR where there is none) at FAR 1e-3 of the first test with a full cross-matrix, at the
lowest measurable FAR above it where the test cannot carry 1e-3, or ten-fold accuracy where there are only pairs. It is
fixed here, before any result is seen. EER and AUC are diagnostics and never rank.
"""

from collections.abc import Iterable

from faceloss.report import searched
from faceloss.report.kinds import Cell, Difference, Key
from faceloss.report.records import Records
from faceloss.report.words import digits, interval, listed, metric, number, place, plural, power, signed

DIAGNOSTIC = {"eer", "auc"}
RANKING_FAR = 1e-3
EXPLORE, CLAIM = 3, 5  # seeds from which a difference may be looked at, and claimed


def _choices(records: Records) -> list[Key]:
    """Keys that may rank, best choice first."""
    cells = [*records.summaries.values(), *records.results.values()]
    measured = {key: {c.label for c in cells if c.key == key and c.measured} for key in records.keys}
    by_kind: list[list[Key]] = [[], [], [], []]
    for key, labels in measured.items():
        everywhere = set().union(*(measured[k] for k in measured if k[:3] == key[:3]))
        if key.metric in DIAGNOSTIC or not labels or labels != everywhere:
            continue
        full = key.metric in ("tar", "tar by identity") and key.protocol == "cross-matrix"
        folds = key.metric == "accuracy" and key.protocol == "ten folds"
        by_kind[0 if full else 1 if folds else 2 if key.metric == "accuracy" else 3].append(key)
    first_test = by_kind[0][0].test if by_kind[0] else None
    full_matrix = [k for k in by_kind[0] if k.test == first_test]
    full_matrix.sort(key=lambda k: ((k.at or 0) < RANKING_FAR, abs((k.at or 0) - RANKING_FAR), k.metric == "tar"))
    return [*full_matrix, *by_kind[1], *by_kind[2], *by_kind[3]]


def primary(records: Records) -> Key | None:
    """The one number that ranks; None while nothing is measured.

    Of the numbers that may rank, the first that the records compare with the baseline, so that rank and verdict speak
    of the same thing.
    """
    choices = _choices(records)
    judged = {difference.key for difference in records.differences.values()}
    return next((key for key in choices if key in judged), choices[0] if choices else None)


def value(records: Records, label: str, key: Key) -> Cell | None:
    """The measured summary of a label, or, before there is one, its only measured seed."""
    cell = records.summaries.get((label, key))
    if cell is None:
        single = [c for c in records.results.values() if c.label == label and c.key == key]
        cell = single[0] if len(single) == 1 else None
    return cell if cell is not None and cell.measured else None


def ranked(records: Records, key: Key | None) -> list[str]:
    """Labels from the best primary value to the worst; those without one follow in the order of the study."""
    if key is None:
        return records.labels
    cells = {label: value(records, label, key) for label in records.labels}
    known = [label for label, cell in cells.items() if cell]
    known.sort(key=lambda label: -(getattr(cells[label], "value", None) or 0.0))
    return known + [label for label in records.labels if label not in known]


def verdict(difference: Difference) -> str:
    """The verdict as it may be printed: on fewer than three seeds nothing is better or worse."""
    return shown_verdict(difference.verdict, difference.seeds)


def shown_verdict(words: str, seeds: int | None) -> str:
    """``words``, unless they claim a difference on fewer than three seeds."""
    return "no difference found" if (seeds or 0) < EXPLORE and words in ("better", "worse") else words


def outcome(records: Records, label: str, row: Difference | None) -> str:
    """The verdict on a label; without a comparison what its runs came to, or nothing while that is open."""
    if row is not None:
        return verdict(row)
    ends = {run.status for (name, _), run in records.runs.items() if name == label}
    if not ends or "finished" in ends:
        return ""
    return "diverged" if ends & {"diverged", "collapsed"} else "not measurable"


def finished(records: Records, label: str) -> list[int]:
    return [seed for (name, seed), run in records.runs.items() if name == label and run.status == "finished"]


def stopped(records: Records, label: str) -> list[int]:
    """Seeds on which a label diverged, collapsed or failed."""
    return [seed for (name, seed), run in records.runs.items() if name == label and run.status != "finished"]


def compared(records: Records, key: Key | None) -> dict[str, Difference]:
    """The differences to the baseline at ``key``, by label, in rank order."""
    if key is None:
        return {}
    rows = {label: records.differences.get((label, key)) for label in ranked(records, key)}
    return {label: difference for label, difference in rows.items() if difference is not None}


def seeds(records: Records, key: Key | None) -> int:
    """Seeds behind the verdicts: the fewest of any comparison that gave a number."""
    rows = [d.seeds for d in compared(records, key).values() if d.value is not None and d.seeds is not None]
    return min(rows, default=len(finished(records, records.baseline)))


def spans(cells: Iterable[Cell | Difference | None]) -> list[float | None]:
    """Widths of intervals, for ``words.digits``."""
    known = [c for c in cells if c is not None and c.low is not None and c.high is not None]
    return [(c.high or 0.0) - (c.low or 0.0) for c in known]


def _main_sentence(records: Records, key: Key, rows: dict[str, Difference]) -> str:
    better = [label for label, row in rows.items() if verdict(row) == "better"]
    where = f"On {place(key)}, "
    tested = sum(1 for row in rows.values() if row.verdict not in ("diverged", "not measurable"))
    family = f", Holm-adjusted over {plural(tested, 'comparison')}" if tested > 1 else ""
    evidence = f"({plural(seeds(records, key), 'seed')}{family})"
    cells = {label: value(records, label, key) for label in records.labels}
    decimals = digits(spans([*cells.values(), *rows.values()]), most=4)

    def shown(label: str) -> str:
        cell = cells.get(label)
        if cell is None or cell.value is None:
            return "not measurable"
        return f"{number(cell.value, decimals)} {interval(cell.low, cell.high, decimals)}".rstrip()

    def gap(label: str) -> str:
        row = rows[label]
        if row.value is None:
            return "not measurable"
        return f"{signed(row.value, decimals)} {interval(row.low, row.high, decimals, sign=True)}".rstrip()

    if better:
        lead, others = better[0], better[1:]
        against = rows[lead].baseline
        more = listed([f"{label} ({gap(label)})" for label in others[:2]])
        if len(others) > 2:
            more = f"{more} and {len(others) - 2} more"
        too = f"; {more} {'was' if len(others) == 1 else 'were'} better too" if others else ""
        return (
            f"{where}{lead} was better than {against}: {metric(key)} is {shown(lead)} against {shown(against)}, "
            f"a difference of {gap(lead)}{too} {evidence}."
        )
    base = records.baseline
    reached = f"{metric(key)} of {base} is {shown(base)}"
    if tested:
        return f"{where}no loss was better than {base}: {reached} {evidence}."
    return f"{where}{base} has not been compared with another loss: {reached}."


def _rest(records: Records, rows: dict[str, Difference]) -> str:
    """Second sentence: every label that was not better."""
    by: dict[str, list[str]] = {}
    for label in [*rows, *(label for label in records.labels if label not in rows)]:
        by.setdefault(outcome(records, label, rows.get(label)), []).append(label)
    parts = []
    if by.get("no difference found"):
        parts.append(f"no difference found for {listed(by['no difference found'])}")
    for base in dict.fromkeys(rows[label].baseline for label in by.get("worse", [])):
        named = [label for label in by["worse"] if rows[label].baseline == base]
        # The control of a tuple loss is named; the study's own baseline stands in the first sentence.
        than = f" than {base}" if base != records.baseline else ""
        parts.append(f"{listed(named)} {'was' if len(named) == 1 else 'were'} worse{than}")
    if by.get("diverged"):
        named = []
        for label in by["diverged"]:
            on = stopped(records, label)
            which = f" ({'seed' if len(on) == 1 else 'seeds'} {listed([str(s) for s in on])})" if on else ""
            named.append(label + which)
        parts.append(f"{listed(named)} diverged")
    if by.get("not measurable"):
        parts.append(f"not measurable: {listed(by['not measurable'])}")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper() + sentence[1:] if by.get('no difference found') else sentence}." if sentence else ""


def _certainty(records: Records, key: Key | None) -> str:
    """Third sentence: what the number of seeds and of pairs allows to say, and what was paid for a searched winner."""
    n = seeds(records, key)
    if n >= CLAIM:
        parts = [f"{plural(n, 'seed')} are enough for a claim, about these faces and this recipe"]
    elif n >= EXPLORE:
        parts = [f"{plural(n, 'seed')} are exploratory: a claim needs {CLAIM}"]
    else:
        parts = [f"With {plural(n, 'seed')} no claim can be made: {EXPLORE} seeds are exploratory, {CLAIM} a claim"]
    if key is not None and key.metric.startswith("tar"):
        beyond = [
            k for k in records.keys if (*k[:2], "tar") == k[:3] and k[:2] == key[:2] and (k.at or 0) < (key.at or 0)
        ]
        refused = [k for k in beyond if not any(value(records, label, k) for label in records.labels)]
        if refused:
            below = f"{power(refused[0].at or 0.0)} and below" if len(refused) > 2 else ""
            named = below or listed([power(k.at or 0.0) for k in refused])
            parts.append(f"FAR {named} not measurable with these pairs")
    rows = compared(records, key)
    for label in [label for label, row in rows.items() if verdict(row) == "better"][:3]:
        times = searched.paid(records, label)
        if times is not None:
            parts.append(f"the search of {label} trained on {number(times, 1)} times the images of its model")
    return f"{'; '.join(parts)}."


def missing(records: Records) -> str:
    """``2 of 12 runs have not been run yet``, or nothing."""
    total, absent = len(records.labels) * len(records.seeds), len(records.missing)
    if not absent or not total:
        return ""
    return f"{absent} of {plural(total, 'run')} {'has' if absent == 1 else 'have'} not been run yet."


def sentences(records: Records) -> list[str]:
    """The answer box: what was better, what became of the others, and how sure that is."""
    key = primary(records)
    if key is None:
        if records.data and not any(data.role == "test" for data in records.data):
            return ["There was no test, so the embeddings have not been judged."]
        return ["Nothing has been measured yet, so there is no answer.", _rest(records, {}), _certainty(records, None)]
    rows = compared(records, key)
    return [s for s in (_main_sentence(records, key, rows), _rest(records, rows), _certainty(records, key)) if s]
