"""Records from run folders: unfinished studies, divergence, the four phrases; no training needed."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from faceloss.compare.records import assemble, command
from faceloss.compare.study import Study, split_specifications
from faceloss.errors import CouldNotFinish
from faceloss.train.settings import Recipe

SUBJECTS = 40


def result(label: str, seed: int, value: float | None, status: str = "finished") -> list[dict[str, object]]:
    who = {"run": f"{label}{seed}", "label": label, "loss": label, "seed": seed}
    rows: list[dict[str, object]] = [{"kind": "run", **who, "status": status, "reason": ""}]
    if status == "finished":
        cell = {"test": "t", "protocol": "cross-matrix", "metric": "tar", "at": 0.01}
        rows.append({"kind": "result", **who, **cell, "value": value, "low": 0, "high": 1, "pairs": 500,
                     "effective": 90.0, "status": "measured", "attained": 0.0099, "note": ""})  # fmt: skip
    return rows


def write(out: Path, runs: dict[tuple[str, int], list[dict[str, object]]], labels: list[str], seeds: int) -> Path:
    """A runs folder in which only ``runs`` are complete."""
    study = Study(data="faces", losses=tuple(labels), seeds=seeds)
    out.mkdir()
    (out / "study.json").write_text(study.model_dump_json())
    plan = [
        {"run": f"{a}{s}", "folder": f"{a}-{s}", "label": a, "loss": a, "seed": s} for s in range(seeds) for a in labels
    ]
    (out / "plan.json").write_text(json.dumps({"data": [{"kind": "data", "role": "train", "images": 9}], "runs": plan}))
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.01, SUBJECTS)
    for (label, seed), rows in runs.items():
        folder = out / "runs" / f"{label}-{seed}"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(rows))
        (folder / "cost.json").write_text(json.dumps({"label": label, "seed": seed, "cpu_seconds": 1.0}))
        file = io.BytesIO()
        np.savez(file, **{"t|cross-matrix|tar|0.01": shared + rng.normal(0, 0.001, SUBJECTS)})
        (folder / "influence.npz").write_bytes(file.getvalue())
    return out


def differences(out: Path) -> dict[str, dict[str, object]]:
    rows = [json.loads(line) for line in assemble(out).read_text().splitlines()]
    return {row["label"]: row for row in rows if row["kind"] == "difference"}


def test_better_worse_and_no_difference(tmp_path: Path) -> None:
    values = {
        "softmax": (0.50, 0.51, 0.49),
        "good": (0.60, 0.62, 0.59),
        "bad": (0.40, 0.40, 0.41),
        "same": (0.49, 0.52, 0.5),
    }
    runs = {(a, s): result(a, s, v) for a, per_seed in values.items() for s, v in enumerate(per_seed)}
    found = differences(write(tmp_path / "out", runs, list(values), 3))
    assert {label: row["verdict"] for label, row in found.items()} == {
        "good": "better",
        "bad": "worse",
        "same": "no difference found",
    }
    assert found["good"]["value"] == pytest.approx(np.mean([0.10, 0.11, 0.10]))
    assert all(row["p_holm"] >= row["p"] for row in found.values())  # type: ignore[operator]
    assert max(row["p_holm"] / row["p"] for row in found.values()) > 1.5  # type: ignore[operator]


def test_two_seeds_never_make_a_claim(tmp_path: Path) -> None:
    values = {"softmax": (0.50, 0.51), "good": (0.80, 0.81)}
    runs = {(a, s): result(a, s, v) for a, per_seed in values.items() for s, v in enumerate(per_seed)}
    found = differences(write(tmp_path / "out", runs, list(values), 2))
    assert found["good"]["low"] > 0.2  # type: ignore[operator]
    assert found["good"]["verdict"] == "no difference found"


def test_an_unfinished_study_compares_what_it_has_on_equal_seeds(tmp_path: Path) -> None:
    runs = {("softmax", 0): result("softmax", 0, 0.5), ("softmax", 1): result("softmax", 1, 0.9)}
    runs[("good", 0)] = result("good", 0, 0.6)
    found = differences(write(tmp_path / "out", runs, ["softmax", "good", "later"], 3))
    assert list(found) == ["good"]  # nothing is said of a loss that has not been run
    assert found["good"]["seeds"] == 1
    assert found["good"]["value"] == pytest.approx(0.1)


def test_a_diverged_run_is_a_row_and_a_verdict(tmp_path: Path) -> None:
    values = {"softmax": (0.50, 0.51, 0.49), "wild": (0.60, 0.62, None)}
    runs = {(a, s): result(a, s, v) for a, vs in values.items() for s, v in enumerate(vs) if v is not None}
    runs[("wild", 2)] = result("wild", 2, None, status="diverged")
    out = write(tmp_path / "out", runs, list(values), 3)
    found = differences(out)
    assert found["wild"]["verdict"] == "diverged"
    assert found["wild"]["seeds"] == 2
    rows = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows if row["kind"] == "run" and row["label"] == "wild"][-1] == "diverged"


def test_the_order_in_which_runs_ended_does_not_matter(tmp_path: Path) -> None:
    values = {"softmax": (0.50, 0.51, 0.49), "good": (0.60, 0.62, 0.59)}
    runs = {(a, s): result(a, s, v) for a, per_seed in values.items() for s, v in enumerate(per_seed)}
    one = assemble(write(tmp_path / "one", runs, list(values), 3)).read_bytes()
    again = assemble(tmp_path / "one").read_bytes()
    assert one == again


@pytest.mark.faults
def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    out = write(tmp_path / "out", {("softmax", 0): result("softmax", 0, 0.5)}, ["softmax"], 1)
    (out / "runs" / "softmax-0" / "result.json").write_text("{")
    with pytest.raises(CouldNotFinish, match="softmax-0"):
        assemble(out)


def test_the_command_starts_the_same_study_anew() -> None:
    recipe = Recipe(epochs=3, learning_rate=0.05, schedule="step", step_epochs=(1, 2), net_options={"width": 8})
    study = Study(data="faces", losses=("softmax", "cosface(s=30,m=0.2)"), seeds=2, recipe=recipe)
    words = command(study)
    for part in ("--set learning_rate=0.05", "--set step_epochs=1.0,2.0", "--set net_options.width=8", "--epochs 3"):
        assert part in words
    assert split_specifications(words.split("'")[1]) == study.losses
