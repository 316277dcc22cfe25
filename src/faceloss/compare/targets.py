"""How soon each run came to one validation target, in images; the same target for all losses, from the baseline alone.

    target = 1/2 + SHARE (mean over the baseline's seeds of its AUC on validation identities after the last epoch - 1/2)

1/2 is chance. A run has reached it at the end of the first epoch at which its AUC is at least the target; looks are
taken once an epoch, so the count is whole epochs. A run that did not finish has not reached anything. The rule was
written down before any study was looked at by it, and no study may change it.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

Record = dict[str, Any]

SHARE = 0.95
CHANCE = 0.5
METRIC = "val_auc"


def target(runs: Iterable[list[Record]], baseline: str) -> float | None:
    """The target, from the records of all ``runs``; None where no run of the baseline was looked at to its end."""
    last = [
        epochs[-1][METRIC]
        for records in runs
        if (run := _run(records))["label"] == baseline and run["status"] == "finished"
        if (epochs := _epochs(records)) and epochs[-1].get(METRIC) is not None
    ]
    return CHANCE + SHARE * (float(np.mean(last)) - CHANCE) if last else None


def target_record(records: list[Record], target: float) -> Record:
    """When the run of ``records`` reached ``target``: epoch, images of the model, and of all candidates of a search."""
    run, epochs = _run(records), _epochs(records)
    row: Record = {"kind": "target", **{name: run[name] for name in ("run", "label", "loss", "seed")}}
    row |= {"metric": METRIC, "target": target, "status": "not reached", "epoch": None, "images": None}
    tried = [record["images"] for record in records if record["kind"] == "search"]
    if tried:
        row["images_tried"] = None
    first = next((entry for entry in epochs if (entry.get(METRIC) or 0) >= target), None)
    if run["status"] == "finished" and first is not None:
        row |= {"status": "reached", "epoch": first["epoch"], "images": first.get("images_seen")}
        if tried:
            row["images_tried"] = sum(tried[: first["epoch"]])
    return row


def with_target(cost: Record, row: Record | None) -> Record:
    """``cost`` with the seconds to the target of ``row``, of the model and of all candidates."""
    if row is None or row["epoch"] is None:
        return cost
    place, known = row["epoch"] - 1, {}
    for name, column in (("seconds_to_target", "epoch_seconds"), ("search_seconds_to_target", "epoch_search_seconds")):
        if place < len(cost.get(column, [])):
            known[name] = cost[column][place]
    return cost | known


def _run(records: list[Record]) -> Record:
    return next(record for record in records if record["kind"] == "run")


def _epochs(records: list[Record]) -> list[Record]:
    return [record for record in records if record["kind"] == "epoch"]
