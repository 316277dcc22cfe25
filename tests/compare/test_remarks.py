"""The automatic scale and the remarks on what cannot work, from the command line to the page."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from faceloss.compare.study import Study, competitors, full_hyperparameters, plan
from faceloss.errors import BadInput
from faceloss.train.settings import Recipe

Cli = Callable[..., subprocess.CompletedProcess[str]]


def study(*losses: str) -> Study:
    return Study(data="builtin", losses=losses, seeds=1, recipe=Recipe(dim=100))


def test_auto_is_a_number_before_any_work_and_stays_in_the_label() -> None:
    _, row = competitors(study("cosface(s=auto,m=0.2)"), 50)
    needed = math.log(0.9999 * 49 / 0.0001) / (0.8 + 1 / 49)
    assert row.label == "cosface (s=auto, m=0.2)"
    assert row.hyperparameters == {"s": pytest.approx(needed, abs=0.011), "m": 0.2}
    assert full_hyperparameters(row) == row.hyperparameters
    assert row.remarks == ()
    (_, other) = competitors(study("cosface(s=auto,m=0.2)"), 51)
    assert plan(study("cosface"), [row], ())[0].id != plan(study("cosface"), [other], ())[0].id
    assert (
        plan(study("cosface"), [row], ())[0].id == plan(study("cosface"), [row._replace(remarks=("a note",))], ())[0].id
    )


@pytest.mark.parametrize("specification", ["softmax(s=auto)", "triplet(alpha=0.2,s=auto)"])
def test_auto_without_a_scale_is_bad_input(specification: str) -> None:
    with pytest.raises(BadInput, match="has no scale s to choose"):
        competitors(study(specification), 50)


def test_what_cannot_work_is_remarked_on_row_by_row() -> None:
    specifications = ("cosface(s=5)", "cosface(s=12)", "vpl", "vpl(start=10)", "magface")
    rows = {row.label: row.remarks for row in competitors(study(*specifications), 50, lambda batches: 400)}
    assert "below" in rows["cosface (s=5)"][0]
    assert "this training has 400" in rows["vpl"][0]
    assert "start=25" in rows["vpl"][0]
    assert rows["softmax"] == rows["cosface (s=12)"] == rows["vpl (start=10)"] == rows["magface"] == ()


def test_steps_are_those_of_the_batches_that_the_loss_asks_for() -> None:
    seen: list[str] = []
    competitors(study("cosface", "triplet"), 50, lambda batches: seen.append(batches) or 10)  # type: ignore[func-returns-value]
    assert seen == ["shuffled", "identity-balanced"]


def test_remarks_are_said_recorded_and_shown(faceloss: Cli, toy_faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    losses = "cosface(s=1,m=0.3),cosface(s=auto,m=0.3),vpl(s=20)"
    settings = ["--set", "net_options.width=4", "--set", "batch=16", "--set", "size=32", "--set", "dim=16"]
    done = faceloss(
        "compare", "--data", toy_faces, "--losses", losses, "--seeds", 1, "--epochs", 1, "--workers", 1, *settings,
        "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if line.startswith("note on ")]
    assert [note.split(":")[0] for note in notes] == ["note on cosface (s=1, m=0.3)", "note on vpl (s=20)"]
    assert "The scale s = 1 is below" in notes[0]
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    runs = {record["label"]: record for record in records if record["kind"] == "run"}
    classes = next(record["identities"] for record in records if record.get("role") == "train")
    steps = next(record["images"] for record in records if record.get("role") == "train") // 16
    exact = math.log(0.9999 * (classes - 1) / 0.0001) / (0.7 + 1 / (classes - 1))
    assert runs["cosface (s=auto, m=0.3)"]["hyperparameters"]["s"] == pytest.approx(exact, abs=0.011)
    assert [len(runs[label]["remarks"]) for label in runs] == [0, 1, 0, 1]
    assert f"this training has {steps}: they never are" in runs["vpl (s=20)"]["remarks"][0]
    page = (out / "report.html").read_text()
    for note in notes:
        label, _, sentence = note.removeprefix("note on ").partition(": ")
        assert f"<b>{label}</b>: {sentence}" in page
