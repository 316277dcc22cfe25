"""Groups over seeds and against the baseline: ``group summary`` and ``group difference`` records.

The numbers of one run are its ``group`` records (:class:`faceloss.evaluate.groups.GroupRate`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceloss.compare.family import decide, over_seeds, seeds_of
from faceloss.evaluate import paired_difference

Record = dict[str, Any]
Runs = Mapping[tuple[str, int], list[Record]]  # group records by (label, seed)
Vectors = Mapping[tuple[str, int], Mapping[str, NDArray[np.float64]]]  # influences by name

RATES = ("fmr", "fnmr", "accuracy")
COMPARED = (*RATES, "fmr gap", "fnmr gap", "accuracy gap")
OTHERS = tuple(f"{rate} to the others" for rate in RATES)  # of a group minus the mean of the other groups
LARGER_IS_BETTER = ("accuracy", "accuracy to the others")


class GroupCell(NamedTuple):
    """What a group number is about. Which groups a gap is between is the outcome of a run, so it is not part of it."""

    test: str
    metric: str
    group: str
    other: str
    at: float | None

    @property
    def name(self) -> str:
        """The name under which a run keeps the influence vector of this cell."""
        return f"{self.test}|groups|{self.metric}|{self.group}|{self.other}|{self.at}"


def group_cell(record: Record) -> GroupCell:
    """The cell of a group record."""
    whole = record["metric"].endswith((" gap", " ratio"))
    group, other = ("", "") if whole else (record["group"], record["other"])
    return GroupCell(record["test"], record["metric"], group, other, record["at"])


def group_rows(
    labels: list[str], losses: Mapping[str, str], baseline: str, runs: Runs, vectors: Vectors
) -> list[Record]:
    """Every rate and gap: its mean over seeds per label, and each label minus ``baseline`` on the seeds of both.

    Intervals are over subjects and seeds, Holm's adjustment over the labels of one cell; lower is better,
    but not of accuracy. Of each label also each group's rate minus the mean of the others, which says whether groups
    differ at all; there Holm's adjustment is over the groups.
    """
    found = {key: {group_cell(record): record for record in records} for key, records in runs.items()}
    every = list(dict.fromkeys(c for row in found.values() for c in row))
    cells = [cell for cell in every if cell.metric in COMPARED]
    rows: list[Record] = []
    for cell in cells:
        for label in labels:
            if seeds := seeds_of(found, cell, label):
                who = {"kind": "group summary", "label": label, "loss": losses[label], **cell._asdict()}
                own = [found[label, seed][cell] for seed in seeds]
                rows.append(who | over_seeds(own, [vectors[label, seed].get(cell.name) for seed in seeds]))
    rows += _to_the_others([cell for cell in every if cell.metric in OTHERS], labels, losses, found, vectors)
    for cell in cells:
        family: list[Record] = []
        for label in labels:
            if label == baseline:
                continue
            seeds = seeds_of(found, cell, label, baseline)
            if not seeds:
                continue
            row: Record = {"kind": "group difference", "label": label, "loss": losses[label], "baseline": baseline}
            row |= {**cell._asdict(), "seeds": len(seeds), "value": None, "low": None, "high": None, "p": None}
            row |= {"p_holm": None, "verdict": "not measurable"}
            values = [[found[name, s][cell]["value"] for s in seeds] for name in (label, baseline)]
            psi = [[vectors[name, s].get(cell.name) for s in seeds] for name in (label, baseline)]
            if all(v is not None for part in (*values, *psi) for v in part):
                d = paired_difference(*values, *(np.stack([v for v in part if v is not None]) for part in psi))
                row |= {"value": d.value, "low": d.low, "high": d.high, "p": d.p}
                family.append(row)
            rows.append(row)
        decide(family, larger_is_better=cell.metric in LARGER_IS_BETTER)
    return rows


def _to_the_others(
    cells: list[GroupCell],
    labels: list[str],
    losses: Mapping[str, str],
    found: Mapping[tuple[str, int], Mapping[GroupCell, Record]],
    vectors: Vectors,
) -> list[Record]:
    """Summaries with p and verdict, from all seeds of a label together."""
    rows: list[Record] = []
    for label in labels:
        for test, metric in dict.fromkeys(cell[:2] for cell in cells):
            family: list[Record] = []
            for cell in cells:
                seeds = seeds_of(found, cell, label)
                if cell[:2] != (test, metric) or not seeds:
                    continue
                records = [found[label, seed][cell] for seed in seeds]
                psi = [vectors[label, seed].get(cell.name) for seed in seeds]
                row: Record = {"kind": "group summary", "label": label, "loss": losses[label], **cell._asdict()}
                row |= {"seeds": len(seeds), "value": None, "low": None, "high": None, "spread": None}
                row |= {"pairs": records[0]["pairs"], "status": "not measurable", "p": None, "p_holm": None}
                row["note"] = next((r["note"] for r in records if r["value"] is None), records[0]["note"])
                row["verdict"] = "not measurable"
                if all(r["value"] is not None for r in records) and all(v is not None for v in psi):
                    whole = np.stack([v for v in psi if v is not None])
                    values = np.array([r["value"] for r in records])
                    d = paired_difference(values, np.zeros_like(values), whole, np.zeros_like(whole))
                    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
                    row |= {"value": d.value, "low": d.low, "high": d.high, "spread": spread, "p": d.p}
                    row["status"] = "measured"
                    family.append(row)
                rows.append(row)
            decide(family, larger_is_better=metric in LARGER_IS_BETTER)
    return rows
