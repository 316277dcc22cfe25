"""The losses over several tests: ``ranking`` and ``ranking pair`` records, from one number of each test."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from faceloss.evaluate.ranking import rank_losses

Record = dict[str, Any]
RANKING_FAR = 1e-3
# The first that a test has.
NUMBERS = (
    ("cross-matrix", "tar by identity"),
    ("cross-matrix", "tar"),
    ("ten folds", "accuracy"),
    ("closed set", "accuracy"),
)


def number_of(test: str, summaries: Sequence[Record]) -> list[Record]:
    """The summaries of the one number by which ``test`` ranks, fixed before any result is seen.

    TAR by identity (else TAR) on the cross-matrix at FAR 1e-3 or the lowest measurable FAR above it, else accuracy.
    """
    for number in NUMBERS:
        own = [row for row in summaries if (row["test"], row["protocol"], row["metric"]) == (test, *number)]
        own = [row for row in own if row["value"] is not None and (row["at"] is None or row["at"] >= RANKING_FAR)]
        if own:
            lowest = min(row["at"] or 0.0 for row in own)
            return [row for row in own if (row["at"] or 0.0) == lowest]
    return []


def ranking_rows(labels: list[str], baseline: str, summaries: Sequence[Record]) -> list[Record]:
    """Friedman, mean ranks and Nemenyi's critical difference over the tests; Wilcoxon-Holm of every label against
    ``baseline``. Labels that lack a number on a test, and then tests that hold fewer than two labels, are left out;
    nothing is written for fewer than two tests."""
    tests = list(dict.fromkeys(row["test"] for row in summaries))
    chosen = {test: {row["label"]: row for row in number_of(test, summaries)} for test in tests}
    chosen = {test: rows for test, rows in chosen.items() if len(rows) > 1}
    kept = [label for label in labels if all(label in rows for rows in chosen.values())]
    if len(chosen) < 2 or len(kept) < 2:
        return []
    values = np.array([[rows[label]["value"] for label in kept] for rows in chosen.values()])
    whole = rank_losses(values, kept)
    numbers = [
        {"test": test, **{k: next(iter(rows.values()))[k] for k in ("protocol", "metric", "at")}}
        for test, rows in chosen.items()
    ]
    head: Record = {
        "kind": "ranking",
        "labels": list(whole.labels),
        "mean_ranks": list(whole.mean_ranks),
        "tests": numbers,
        "friedman_p": whole.friedman_p,
        "critical_difference": whole.critical_difference,
        "cliques": [list(clique) for clique in whole.cliques],
        "left_out": [label for label in labels if label not in kept],
    }
    if baseline not in kept:
        return [head]
    against = rank_losses(values, kept, control=baseline)
    rows = [
        {"kind": "ranking pair", "label": p.one, "baseline": p.two, "p": p.p, "p_holm": p.p_holm, "verdict": p.verdict}
        for p in against.pairs
    ]
    return [head, *rows]
