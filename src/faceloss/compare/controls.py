"""What a search must beat: fixed and random margins, the best of as many models, what it found from scratch.

The arms are rows of an ordinary comparison, so seeds, records and engines are those of any other. Beside softmax every
arm is compared with the best fixed margin, which is chosen by the validation identities.
"""

import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faceloss.compare.family import decide
from faceloss.compare.records import STOPPED, Cell, cell_of
from faceloss.evaluate import paired_difference
from faceloss.files import write_atomically

MARGINS = {32: (0.05, 0.1, 0.2, 0.3, 0.4), 16: (0.1, 0.2, 0.3)}  # of CosFace, by scale
START = "a=-600"  # of searches for one number: m = 0.2 at s = 32, the middle of the grid
METHODS = {
    "random": "random_softmax",
    "guided": f"search_softmax({START})",
    "published": f"search_softmax({START},method=published)",
    "am-lfs": "am_lfs",
    "lookahead": "lookahead_margin",
}
GRID = tuple(f"cosface(s={s},m={m})" for s, margins in MARGINS.items() for m in margins)
CONTROLS = (
    f"search_softmax({START},method=same)",  # the best of as many models with equal margins
    f"search_softmax({START},method=replay)",
    "lookahead_margin(method=random)",  # without the scores
    "lookahead_margin(method=replay)",
    "am_lfs(method=replay)",
    f"search_softmax({START},candidates=8,trial=halving)",
    "random_softmax(low=6.4,high=6.4,gradient=normalized)",  # m = 0.2 without the longer steps that a margin makes
    "softmax*4",  # as many images as a search of four candidates
    "cosface(s=32,m=0.2)*4",
)
VERIFIED = ("cross-matrix", "ten folds")
BESIDE = "differences_to_best.jsonl"


def arms(methods: tuple[str, ...], *, controls: bool) -> tuple[str, ...]:
    """The rows of a comparison of searches: those of ``methods``, or with ``controls`` all of them and theirs."""
    return (*GRID, *METHODS.values(), *CONTROLS) if controls else tuple(METHODS[name] for name in methods)


class Arm(NamedTuple):
    """The complete runs of a row, by seed."""

    label: str
    folders: dict[int, Path]
    records: dict[int, list[dict[str, Any]]]

    @property
    def loss(self) -> str:
        """The name of its loss."""
        return str(next(iter(self.records.values()))[0]["loss"])

    def validation(self) -> float:
        """Mean EER on the validation identities at the end of training; infinite where there is none."""
        ends = [[row for row in rows if row["kind"] == "epoch"] for rows in self.records.values()]
        return statistics.mean(end[-1].get("val_eer", np.inf) if end else np.inf for end in ends)

    def stopped(self) -> bool:
        """Whether a run of it diverged or collapsed."""
        return any(rows[0]["status"] in STOPPED for rows in self.records.values())

    def cell(self, seed: int, cell: Cell) -> tuple[float | None, Any]:
        """Value and influences of a run in a cell; None where it has none."""
        for row in self.records[seed]:
            if row["kind"] == "result" and cell_of(row) == cell:
                with np.load(self.folders[seed] / "influence.npz", allow_pickle=False) as archive:
                    return row["value"], archive[cell.name] if cell.name in archive.files else None
        return None, None


def complete(runs: Path) -> list[Arm]:
    """The arms of a runs folder, in the order of the study, with what is complete of them."""
    found: dict[str, Arm] = {}
    for run in json.loads((runs / "plan.json").read_text())["runs"]:
        folder = runs / "runs" / run["folder"]
        if (folder / "result.json").exists():
            arm = found.setdefault(run["label"], Arm(run["label"], {}, {}))
            arm.folders[run["seed"]] = folder
            arm.records[run["seed"]] = json.loads((folder / "result.json").read_text())
    return list(found.values())


def best_fixed(found: list[Arm]) -> Arm | None:
    """The arm with a fixed margin that is best on the validation identities; tests have no say in it."""
    fixed = [arm for arm in found if arm.loss == "cosface" and " x " not in arm.label]
    return min(fixed, key=Arm.validation, default=None)


def headline(found: list[Arm]) -> list[Cell]:
    """Of each test the TAR at the lowest FAR that was measured, by identity if it has that, and accuracy or EER."""
    rows = [row for arm in found for records in arm.records.values() for row in records if row["kind"] == "result"]
    cells = []
    for test in dict.fromkeys(row["test"] for row in rows):
        here = [row for row in rows if row["test"] == test and row["value"] is not None and row["protocol"] in VERIFIED]
        for either in (("tar by identity", "tar"), ("accuracy", "eer")):
            known = next((some for name in either if (some := [row for row in here if row["metric"] == name])), [])
            if known:
                cells.append(cell_of(min(known, key=lambda row: row["at"] or 0.0)))
    return cells


def against_best(runs: Path) -> list[dict[str, Any]]:
    """Each arm minus the best fixed margin, in the headline cells, with Holm over the arms; kept in ``runs``."""
    found = complete(runs)
    best = best_fixed(found)
    rows: list[dict[str, Any]] = []
    for cell in headline(found) if best else []:
        assert best is not None
        family = []
        for arm in found:
            seeds = sorted(arm.folders.keys() & best.folders.keys())
            if arm is best or not seeds:
                continue
            ours, theirs = ([side.cell(seed, cell) for seed in seeds] for side in (arm, best))
            row = {
                "kind": "difference",
                "label": arm.label,
                "baseline": best.label,
                **cell._asdict(),
                "seeds": len(seeds),
            }
            row |= dict.fromkeys(("value", "low", "high", "p", "p_holm"))
            row["verdict"] = "diverged" if arm.stopped() else "not measurable"
            if all(value is not None and part is not None for value, part in (*ours, *theirs)):
                difference = paired_difference(
                    np.array([value for value, _ in ours], dtype=float),
                    np.array([value for value, _ in theirs], dtype=float),
                    np.stack([part for _, part in ours]),
                    np.stack([part for _, part in theirs]),
                )
                row |= {name: float(getattr(difference, name)) for name in ("value", "low", "high", "p")}
                family.append(row)
            rows.append(row)
        decide(family, larger_is_better=cell.metric != "eer")
    write_atomically(runs / BESIDE, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode())
    return rows


def table(folder: Path) -> str:
    """The records in ``folder`` as a Markdown table: one row an arm, what it reached, and what it cost."""
    rows, costs, differences = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("records.jsonl", "costs.jsonl", BESIDE)
    )
    cells = list(dict.fromkeys(tuple(row[key] for key in ("test", "metric", "at")) for row in differences))
    best = differences[0]["baseline"] if differences else ""
    names = [f"{metric}{f' at FAR {at:g}' if at else ''}, {test.rpartition('/')[2]}" for test, metric, at in cells]
    heads = ["arm", "seeds", "validation EER", *names, *(f"{name}, minus {best}" for name in names[:1])]
    heads += ["images of all candidates", "seconds, against softmax"]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    spent: dict[str, list[float]] = {}
    for cost in costs:
        spent.setdefault(cost["label"], []).append(cost.get("search_seconds", cost["seconds"]))
    last = {row["run"]: row for row in rows if row["kind"] == "epoch"}
    for label, seconds in sorted(spent.items(), key=lambda item: _place(rows, item[0])):
        runs = [row for row in rows if row["kind"] == "run" and row["label"] == label]
        ends = [last[run["run"]].get("val_eer") for run in runs if run["run"] in last]
        known = [end for end in ends if end is not None]
        shown = [label, str(len(runs)), f"{statistics.mean(known):.4f}" if known else "-"]
        shown += [_shown(rows, "summary", label, cell) for cell in cells]
        shown += [
            _shown(differences, "difference", label, cell) if label != best else "best fixed margin"
            for cell in cells[:1]
        ]
        tried = statistics.mean(run.get("images_tried", run["images_seen"]) for run in runs)
        shown += [f"{tried / 1000:.0f}k", f"{statistics.median(seconds) / statistics.median(spent['softmax']):.2f}"]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _shown(rows: list[dict[str, Any]], kind: str, label: str, cell: tuple[Any, ...]) -> str:
    for row in rows:
        if row["kind"] == kind and (row["label"], row["test"], row["metric"], row["at"]) == (label, *cell):
            if row["value"] is None:
                return str(row.get("verdict") or row["status"])
            sign = "+" if kind == "difference" else ""
            interval = "" if row["low"] is None else f" [{row['low']:{sign}.3f}, {row['high']:{sign}.3f}]"
            return f"{row['value']:{sign}.3f}{interval} {row.get('verdict', '')}".strip()
    return "-"


def _place(rows: list[dict[str, Any]], label: str) -> int:
    labels: list[str] = next(row["losses"] for row in rows if row["kind"] == "study")
    return labels.index(label)
