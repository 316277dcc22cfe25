"""What every comparison over seeds has in common: which seeds have a number, its mean, and verdicts with Holm.

A family are the differences of all losses in one cell, each a record with value, low, high, p and seeds.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceloss.evaluate import holm, summary, verdict

Record = dict[str, Any]


def seeds_of(found: Mapping[tuple[str, int], Collection[Any]], cell: Any, *labels: str) -> list[int]:
    """The seeds, in order, of which each of ``labels`` has ``cell``; ``found`` are the cells by (label, seed)."""
    have = [{seed for name, seed in found if name == label and cell in found[name, seed]} for label in labels]
    return sorted(set.intersection(*have))


def over_seeds(records: Sequence[Record], influences: Sequence[NDArray[np.float64] | None]) -> Record:
    """Mean of the values of ``records``, one a seed, with its interval over subjects and seeds, and the spread.

    Not measurable where one of the runs has no value or no influences; the note then says why.
    """
    row: Record = {"seeds": len(records), "value": None, "low": None, "high": None, "spread": None}
    known = [psi for psi in influences if psi is not None]
    values = [record["value"] for record in records if record["value"] is not None]
    able = len(known) == len(values) == len(records)
    row |= {"pairs": records[0]["pairs"], "status": "measured" if able else "not measurable"}
    row["note"] = next((record["note"] for record in records if record["value"] is None), records[0]["note"])
    if able:
        total = summary(values, np.stack(known))
        spread = total.spread if len(records) > 1 else None
        row |= {"value": total.mean, "low": total.low, "high": total.high, "spread": spread}
    return row


def decide(family: Sequence[Record], *, larger_is_better: bool) -> None:
    """Write into each record of ``family`` Holm's adjustment over them, and its verdict; "diverged" stays."""
    for row, adjusted in zip(family, holm([row["p"] for row in family]), strict=True):
        row["p_holm"] = adjusted
        row["verdict"] = verdict(
            row["low"],
            row["high"],
            adjusted,
            row["seeds"],
            diverged=row["verdict"] == "diverged",
            larger_is_better=larger_is_better,
        )
