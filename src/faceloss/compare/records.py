"""From the files of the runs to one flat list of records: per run, over seeds, and against the baseline.

What is written depends on the runs' results only, never on when or in which order they came, so that a comparison that
was killed and resumed ends in the same bytes as one that was not.
"""

import json
import platform
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import numpy as np

from faceloss.compare.family import decide, seeds_of
from faceloss.compare.group_records import group_rows
from faceloss.compare.noise import Noise, words_of
from faceloss.compare.ranking import ranking_rows
from faceloss.compare.robustness import about, robustness_rows
from faceloss.compare.study import BASELINE, Study
from faceloss.compare.targets import target, target_record, with_target
from faceloss.compare.why import norm_rows
from faceloss.errors import CouldNotFinish
from faceloss.evaluate import Difference, detectable, paired_difference, summary
from faceloss.files import write_atomically

Record = dict[str, Any]
STOPPED = {"diverged", "collapsed"}  # a network that holds one point or line has diverged as surely as one with NaN


class Cell(NamedTuple):
    """What a number is about; numbers are compared only within a cell."""

    test: str
    protocol: str
    metric: str
    at: float | None

    @property
    def name(self) -> str:
        """The name under which a run keeps the influence vector of this cell."""
        return f"{self.test}|{self.protocol}|{self.metric}|{self.at}"


def cell_of(record: Record) -> Cell:
    """The cell of a result record."""
    return Cell(record["test"], record["protocol"], record["metric"], record["at"])


def assemble(out: Path) -> Path:
    """Write ``records.jsonl`` and ``costs.jsonl`` of the runs folder ``out`` from the runs that are complete."""
    study = Study.model_validate_json((out / "study.json").read_bytes())
    plan = json.loads((out / "plan.json").read_text())
    rows: list[Record] = [_study_record(study, plan), *plan["data"]]
    costs: list[Record] = []
    ended: dict[tuple[str, int], list[Record]] = {}
    vectors: dict[tuple[str, int], dict[str, Any]] = {}
    for run in plan["runs"]:
        folder = out / "runs" / run["folder"]
        if not (folder / "result.json").exists():
            continue
        try:
            records = json.loads((folder / "result.json").read_text())
            with np.load(folder / "influence.npz", allow_pickle=False) as archive:
                vectors[run["label"], run["seed"]] = {name: archive[name] for name in archive.files}
            costs.append(json.loads((folder / "cost.json").read_text()))
        except (OSError, ValueError) as error:
            raise CouldNotFinish(
                f"{folder} is damaged ({error}); delete that folder and continue with: faceloss resume {out}"
            ) from error
        rows += records
        ended[run["label"], run["seed"]] = records

    def of(kind: str) -> dict[tuple[str, int], list[Record]]:
        return {key: [record for record in records if record["kind"] == kind] for key, records in ended.items()}

    states = {key: str(run["status"]) for key, (run,) in of("run").items()}
    results = {key: {cell_of(record): record for record in records} for key, records in of("result").items()}
    aim = None if study.single else target(ended.values(), BASELINE)
    reached = [None if aim is None else target_record(records, aim) for records in ended.values()]
    rows += [row for row in reached if row is not None]
    costs = [with_target(cost, row) for cost, row in zip(costs, reached, strict=True)]
    labels = list(dict.fromkeys(run["label"] for run in plan["runs"]))
    losses = {run["label"]: run["loss"] for run in plan["runs"]}
    summaries = _summaries(labels, losses, results, vectors)
    rows += summaries
    baseline = "" if study.single else BASELINE
    rows += norm_rows(labels, losses, of("norm"), vectors)
    if not study.single:
        rows += _differences(labels, losses, results, vectors, states)
        rows += group_rows(labels, losses, BASELINE, of("group"), vectors)
        rows += ranking_rows(labels, BASELINE, summaries)
    stopped = {name for (name, _), state in states.items() if state in STOPPED}
    rows += robustness_rows(labels, losses, baseline, of("robustness"), vectors, stopped)
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    write_atomically(out / "records.jsonl", lines.encode())
    write_atomically(out / "costs.jsonl", "".join(json.dumps(cost) + "\n" for cost in costs).encode())
    return out / "records.jsonl"


def _study_record(study: Study, plan: Record) -> Record:
    recipe = study.recipe
    train = next(record for record in plan["data"] if record["role"] == "train")
    outside = {"loss_files": study.loss_files, "plugins": study.plugins}
    return {
        "kind": "study",
        "title": study.title,
        "command": command(study),
        "version": study.version,
        "losses": list(dict.fromkeys(run["label"] for run in plan["runs"])),
        "baseline": plan["runs"][0]["label"] if study.single else BASELINE,
        "seeds": list(study.each_seed),
        "epochs": recipe.epochs,
        "images_seen": recipe.epochs * train["images"],
        "net": recipe.net,
        "size": recipe.size,
        "dim": recipe.dim,
        "batch": recipe.batch,
        "optimizer": recipe.optimizer,
        "learning_rate": recipe.learning_rate,
        "schedule": recipe.schedule,
        "weight_decay": recipe.weight_decay,
        "precision": recipe.precision,
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": recipe.threads,
        "recipe": recipe.model_dump(mode="json"),
        **{name: identities for name, identities in outside.items() if identities},
        **({"noise": study.noise.model_dump()} if study.noise != Noise() else {}),
        **({"corruptions": about(study.robustness)} if study.robustness else {}),
    }


def command(study: Study) -> str:
    """A command line that starts this study anew."""
    words = [f"faceloss compare --data {quote(study.data)} --losses '{','.join(study.losses)}' --seeds {study.seeds}"]
    words += [f"--loss {name}.py" for name in study.loss_files]
    if study.single:
        name, parenthesis, values = study.losses[0].partition("(")
        loss = f"{name}{'.py' if name in study.loss_files else ''}{parenthesis}{values}"
        words = [f"faceloss train --data {quote(study.data)} --loss '{loss}' --seed {study.single.seed}"]
        words += [f"--val {study.single.val:g}"] if study.single.val else []
    words += [f"--test {quote(test)}" for test in study.tests]
    if study.images:
        words.append(f"--images {quote(study.images)}")
    if study.balance:
        words.append("--balance")
    words += words_of(study.noise)
    words += [f"--robustness {','.join(study.robustness)}"] if study.robustness else []
    words += ["--any-contract"] * study.any_contract + ["--stream"] * study.stream
    defaults = type(study.recipe)().model_dump()
    given = study.recipe.model_dump(exclude={"device", "precision", "epochs"})
    words.append(f"--epochs {study.recipe.epochs}")
    for name, value in given.items():
        if isinstance(value, dict):
            base = defaults[name] or {}
            words += [f"--set {name}.{key}={v}" for key, v in value.items() if base.get(key) != v]
        elif value != defaults[name]:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            words.append(f"--set {name}={text}")
    return " ".join(words) + " --out RUNS"


def _cells(results: dict[tuple[str, int], dict[Cell, Record]]) -> list[Cell]:
    """All cells, in the order in which the runs hold them."""
    return list(dict.fromkeys(cell for row in results.values() for cell in row))


def _summaries(
    labels: list[str],
    losses: dict[str, str],
    results: dict[tuple[str, int], dict[Cell, Record]],
    vectors: dict[tuple[str, int], dict[str, Any]],
) -> list[Record]:
    rows = []
    for cell in _cells(results):
        for label in labels:
            seeds = seeds_of(results, cell, label)
            if not seeds:
                continue
            found = [results[label, seed][cell] for seed in seeds]
            row: Record = {
                "kind": "summary",
                "label": label,
                "loss": losses[label],
                **cell._asdict(),
                "seeds": len(seeds),
            }
            row |= {"pairs": found[0]["pairs"], "status": found[0]["status"], "attained": found[0]["attained"]}
            row |= {"value": None, "low": None, "high": None, "spread": None, "effective": found[0]["effective"]}
            if all(record["value"] is not None for record in found):
                values = [record["value"] for record in found]
                influences = [vectors[label, seed].get(cell.name) for seed in seeds]
                row["value"] = float(np.mean(values))
                row["spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
                if all(influence is not None for influence in influences):
                    total = summary(values, np.stack([np.asarray(i) for i in influences]))
                    row |= {"low": total.low, "high": total.high}
                row["effective"] = _mean([record["effective"] for record in found])
                row["attained"] = _mean([record["attained"] for record in found])
            rows.append(row)
    return rows


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _differences(
    labels: list[str],
    losses: dict[str, str],
    results: dict[tuple[str, int], dict[Cell, Record]],
    vectors: dict[tuple[str, int], dict[str, Any]],
    states: dict[tuple[str, int], str],
) -> list[Record]:
    """Each label minus the baseline on the seeds that both finished; Holm over the labels of one cell."""
    rows: list[Record] = []
    for cell in _cells(results):
        family: list[Record] = []
        found: list[Difference] = []
        for label in labels:
            if label == BASELINE or not any(name == label for name, _ in states):
                continue  # the baseline itself, or a loss none of whose runs is complete yet
            seeds = seeds_of(results, cell, label, BASELINE)
            ended = {states[name, seed] for name, seed in states if name == label}
            row: Record = {"kind": "difference", "label": label, "loss": losses[label], "baseline": BASELINE}
            row |= {**cell._asdict(), "seeds": len(seeds), "value": None, "low": None, "high": None, "p": None}
            row |= {"p_holm": None, "detectable": None, "verdict": "diverged" if ended & STOPPED else "not measurable"}
            pairs = [(results[label, seed][cell], results[BASELINE, seed][cell]) for seed in seeds]
            known = all(a["value"] is not None and b["value"] is not None for a, b in pairs)
            has = all(cell.name in vectors[n, seed] for seed in seeds for n in (label, BASELINE))
            if pairs and known and has:
                difference = paired_difference(
                    [a["value"] for a, _ in pairs],
                    [b["value"] for _, b in pairs],
                    np.stack([vectors[label, seed][cell.name] for seed in seeds]),
                    np.stack([vectors[BASELINE, seed][cell.name] for seed in seeds]),
                )
                row |= {"value": difference.value, "low": difference.low, "high": difference.high, "p": difference.p}
                family.append(row)
                found.append(difference)
            rows.append(row)
        for row, difference in zip(family, found, strict=True):
            smallest = detectable(difference, len(family))
            row["detectable"] = smallest if np.isfinite(smallest) else None
        decide(family, larger_is_better=cell.metric != "eer")
    return rows
