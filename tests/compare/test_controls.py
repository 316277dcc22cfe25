"""Differences to the best fixed margin: which one that is, which cells, and the numbers, against the definition."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceloss.compare.controls import BESIDE, CONTROLS, GRID, METHODS, against_best, arms, complete, headline, table
from faceloss.compare.study import Study, competitors
from faceloss.evaluate import paired_difference

ARMS = {  # label -> loss, EER on validation, TAR of its three seeds
    "softmax": ("softmax", 0.20, (0.50, 0.52, 0.48)),
    "cosface (m=0.1)": ("cosface", 0.15, (0.60, 0.61, 0.62)),
    "cosface (m=0.3)": ("cosface", 0.10, (0.58, 0.60, 0.59)),  # the best on validation, not on the test
    "cosface (m=0.3) x 4": ("cosface", 0.05, (0.70, 0.70, 0.70)),  # longer: no fixed margin of equal cost
    "search_softmax": ("search_softmax", 0.11, (0.75, 0.73, 0.80)),
}


def results(value: float) -> list[dict[str, Any]]:
    cells = [
        ("cross-matrix", "tar", 1e-2, 0.9),
        ("cross-matrix", "tar", 1e-3, value),
        ("cross-matrix", "tar", 1e-4, None),
    ]
    cells += [("cross-matrix", "eer", None, 0.1), ("rank", "rank", 1.0, 0.9), ("closed set", "accuracy", None, 0.8)]
    names = ("protocol", "metric", "at", "value")
    return [{"kind": "result", "test": "faces", **dict(zip(names, cell, strict=True))} for cell in cells]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder of which the last run is not complete."""
    planned, draw = [], np.random.default_rng(0)
    for label, (loss, eer, values) in ARMS.items():
        for seed, value in enumerate(values):
            folder = tmp_path / "runs" / f"{loss}{len(planned)}"
            planned.append(
                {"run": f"r{len(planned)}", "folder": folder.name, "label": label, "loss": loss, "seed": seed}
            )
            if (label, seed) == ("search_softmax", 2):
                continue
            folder.mkdir(parents=True)
            who = {"run": planned[-1]["run"], "label": label, "loss": loss, "seed": seed}
            rows = [{"kind": "run", **who, "status": "finished", "images_seen": 1000}]
            rows += [{"kind": "epoch", **who, "val_eer": x} for x in (0.5, eer + 0.001 * seed)]
            (folder / "result.json").write_text(json.dumps(rows + results(value)))
            cells = [
                f"faces|cross-matrix|{metric}|{at}" for metric, at in (("tar", 1e-2), ("tar", 1e-3), ("eer", None))
            ]
            archive = io.BytesIO()
            np.savez(archive, **{cell: draw.normal(0, 0.1, 50) for cell in cells})
            (folder / "influence.npz").write_bytes(archive.getvalue())
    (tmp_path / "plan.json").write_text(json.dumps({"runs": planned}))
    return tmp_path


def test_the_best_is_chosen_by_validation_and_costs_as_much_as_the_others(runs: Path) -> None:
    assert {row["baseline"] for row in against_best(runs)} == {"cosface (m=0.3)"}


def test_the_lowest_far_that_was_measured_and_the_eer_are_compared(runs: Path) -> None:
    cells = [(cell.metric, cell.at) for cell in headline(complete(runs))]
    assert cells == [("tar", 1e-3), ("eer", None)]


def test_differences_are_paired_by_seed_and_kept(runs: Path) -> None:
    rows = against_best(runs)
    found = {(row["label"], row["metric"]): row for row in rows}
    assert len(found) == 2 * (len(ARMS) - 1)
    arm = {arm.label: arm for arm in complete(runs)}

    def influence(label: str, seed: int) -> Any:
        with np.load(arm[label].folders[seed] / "influence.npz") as archive:
            return archive["faces|cross-matrix|tar|0.001"]

    for label, seeds in (("softmax", 3), ("search_softmax", 2)):
        row = found[label, "tar"]
        assert row["seeds"] == seeds
        values = [list(ARMS[name][2][:seeds]) for name in (label, "cosface (m=0.3)")]
        parts = [np.stack([influence(name, seed) for seed in range(seeds)]) for name in (label, "cosface (m=0.3)")]
        expected = paired_difference(*values, *parts)
        assert row["value"] == pytest.approx(np.mean(values[0]) - np.mean(values[1]))
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
        assert row["p_holm"] >= row["p"]
    assert found["softmax", "tar"]["verdict"] in ("worse", "no difference found")
    assert found["search_softmax", "tar"]["verdict"] != "better"  # two seeds are no claim
    assert [json.loads(line) for line in (runs / BESIDE).read_text().splitlines()] == rows


def test_the_table_has_a_row_an_arm(runs: Path) -> None:
    against_best(runs)
    labels = list(ARMS)
    every = [json.loads(file.read_text()) for file in runs.glob("runs/*/result.json")]
    rows = [{"kind": "study", "losses": labels}, *(row for some in every for row in some if row["kind"] != "result")]
    for label in labels:
        summary = {"test": "faces", "metric": "tar", "at": 1e-3, "value": 0.5, "low": 0.4, "high": 0.6}
        rows.append({"kind": "summary", "label": label, **summary})
    (runs / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    costs = [{"label": label, "seconds": 10.0} for label in labels]
    costs[-1]["search_seconds"] = 41.0
    (runs / "costs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in costs))
    lines = table(runs).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == labels
    assert "best fixed margin" in lines[4]
    assert lines[-1].endswith(" | 4.10 |")
    assert "0.500 [0.400, 0.600]" in lines[2]
    assert "| 0.1110 |" in lines[-1].replace("0.1105", "0.1110")


def test_without_a_fixed_margin_there_is_nothing_to_compare_with(runs: Path) -> None:
    plan = json.loads((runs / "plan.json").read_text())
    plan["runs"] = [run for run in plan["runs"] if run["loss"] != "cosface"]
    (runs / "plan.json").write_text(json.dumps(plan))
    assert against_best(runs) == []


def test_the_arms_are_rows_of_a_comparison() -> None:
    """Each builds, each replay has its source, and no two are the same."""
    study = Study(data="builtin", losses=arms((), controls=True))
    rows = competitors(study, classes=20)
    assert len(rows) == 1 + len(GRID) + len(METHODS) + len(CONTROLS)
    assert {row.times for row in rows} == {1, 4}
    assert sum(bool(row.source) for row in rows) == 3
    assert arms(("random",), controls=False) == ("random_softmax",)
