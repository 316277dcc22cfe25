"""Groups and rankings on their way from runs to records."""

import io
import json

import numpy as np
import pytest

from faceloss.compare.group_records import group_cell, group_rows
from faceloss.compare.ranking import number_of, ranking_rows
from faceloss.compare.records import Cell, assemble
from faceloss.compare.study import Study
from faceloss.evaluate import holm, judge_groups
from faceloss.evaluate.rows import group_record

GROUPS = ("north", "east", "south", "west")


def runs_of(biased: float, seeds: int = 3):
    """softmax, an equal of it, and a loss under which the faces of "west" vary more."""
    rng = np.random.default_rng(0)
    people, images, dim = 160, 5, 24
    labels = np.repeat(np.arange(people), images)
    names = np.array(GROUPS)[labels % 4]
    centers = rng.normal(size=(people, dim))
    own = rng.uniform(0.5, 0.9, people)[labels, None] * rng.normal(size=(len(labels), dim))
    runs, vectors = {}, {}
    for label in ("softmax", "equal", "biased"):
        for seed in range(seeds):
            e = centers[labels] + own + 0.15 * rng.normal(size=own.shape)
            if label == "biased":
                e += np.where(names == "west", biased, 0.0)[:, None] * rng.normal(size=own.shape)
            records, influences = [], {}
            for rate in judge_groups(e, labels, names, far=1e-2):
                record = {"test": "t", **group_record(rate)}
                records.append(record)
                if rate.influence is not None:
                    influences[group_cell(record).name] = rate.influence
            runs[label, seed], vectors[label, seed] = records, influences
    return runs, vectors


def rows_of(runs, vectors, labels=("softmax", "equal", "biased")):
    rows = group_rows(list(labels), {label: label for label in labels}, "softmax", runs, vectors)
    return {(r["kind"], r["label"], r["metric"], r["group"], r["other"]): r for r in rows}


def test_the_loss_that_harms_a_group_is_found_and_its_equal_is_not():
    runs, vectors = runs_of(0.5)
    rows = rows_of(runs, vectors)
    west = rows["group difference", "biased", "fnmr", "west", ""]
    assert west["verdict"] == "worse"
    assert 0 < west["low"] < west["value"] < west["high"]
    assert west["p_holm"] >= west["p"]
    assert rows["group difference", "biased", "fnmr gap", "", ""]["verdict"] == "worse"
    equal = [r for key, r in rows.items() if key[:2] == ("group difference", "equal")]
    assert len(equal) == 16  # ten cells of the FMR matrix, four FNMR, two gaps
    assert [r["verdict"] for r in equal].count("no difference found") >= 15
    assert ("group difference", "softmax", "fnmr", "west", "") not in rows
    # Whether a group differs at all, of every label by itself.
    told = {key[1:4]: r for key, r in rows.items() if key[0] == "group summary" and "others" in key[2]}
    assert len(told) == 3 * 2 * 4
    west = told["biased", "fnmr to the others", "west"]
    assert west["verdict"] == "worse"
    assert 0 < west["low"] < west["value"] < west["high"]
    four = [told["biased", "fnmr to the others", group] for group in GROUPS]
    assert [r["p_holm"] for r in four] == holm([r["p"] for r in four])
    assert west["p_holm"] > 2 * west["p"]
    each = [
        r["value"]
        for seed in range(3)
        for r in runs["biased", seed]
        if (r["metric"], r["group"]) == ("fnmr to the others", "west")
    ]
    assert west["value"] == pytest.approx(np.mean(each))
    assert {r["verdict"] for key, r in told.items() if key[0] != "biased"} == {"no difference found"}
    two = rows_of(*runs_of(0.5, seeds=2))["group summary", "biased", "fnmr to the others", "west", ""]
    assert two["verdict"] == "no difference found"


def test_summaries_are_means_over_seeds_with_intervals_over_people():
    runs, vectors = runs_of(0.5)
    rows = rows_of(runs, vectors)
    row = rows["group summary", "biased", "fnmr", "west", ""]
    values = [
        r["value"] for seed in range(3) for r in runs["biased", seed] if (r["metric"], r["group"]) == ("fnmr", "west")
    ]
    assert row["value"] == pytest.approx(np.mean(values))
    assert row["spread"] == pytest.approx(np.std(values, ddof=1))
    assert row["low"] < row["value"] < row["high"]
    assert (row["seeds"], row["status"]) == (3, "measured")


def test_what_is_not_measurable_stays_so():
    runs, vectors = runs_of(0.5, seeds=2)
    for records in runs.values():
        for record in records:
            if (record["metric"], record["group"]) == ("fnmr", "west"):
                record |= {"value": None, "low": None, "high": None, "status": "not measurable", "note": "too few"}
    rows = rows_of(runs, vectors)
    assert rows["group summary", "equal", "fnmr", "west", ""]["status"] == "not measurable"
    assert rows["group summary", "equal", "fnmr", "west", ""]["note"] == "too few"
    assert rows["group difference", "equal", "fnmr", "west", ""]["verdict"] == "not measurable"
    assert rows["group difference", "biased", "fnmr", "north", ""]["verdict"] == "no difference found"  # two seeds
    assert group_rows(["softmax"], {"softmax": "softmax"}, "softmax", {}, {}) == []


def summaries(tests: int, lift: float):
    rng = np.random.default_rng(1)
    rows = []
    for test in range(tests):
        base = rng.uniform(0.5, 0.8)
        for label in ("softmax", "good", "odd"):
            if label == "odd" and test == 0:
                continue  # diverged there
            value = base + rng.normal(0, 0.01) + (lift if label == "good" else 0)
            head = {"kind": "summary", "test": f"t{test}", "label": label}
            rows.append({**head, "protocol": "cross-matrix", "metric": "tar by identity", "at": 1e-2, "value": value})
            rows.append({**head, "protocol": "cross-matrix", "metric": "tar", "at": 1e-3, "value": 1 - value})
            rows.append({**head, "protocol": "cross-matrix", "metric": "tar by identity", "at": 1e-4, "value": 0.1})
    return rows


def test_the_losses_are_ranked_by_one_number_of_each_test():
    rows = summaries(8, 0.1)
    chosen = number_of("t3", rows)
    assert {(r["metric"], r["at"]) for r in chosen} == {("tar by identity", 1e-2)}
    assert number_of("none", rows) == []
    head, *pairs = ranking_rows(["softmax", "good", "odd"], "softmax", rows)
    assert head["kind"] == "ranking"
    assert head["labels"] == ["good", "softmax"]
    assert head["left_out"] == ["odd"]
    assert (head["mean_ranks"], len(head["tests"])) == ([1.0, 2.0], 8)
    assert [(p["kind"], p["label"], p["baseline"], p["verdict"]) for p in pairs] == [
        ("ranking pair", "good", "softmax", "better")
    ]
    assert ranking_rows(["softmax", "good"], "softmax", summaries(1, 0.1)) == []
    few = ranking_rows(["softmax", "good"], "softmax", summaries(4, 0.1))
    assert few[1]["verdict"] == "not measurable"


def test_a_pair_list_is_ranked_by_its_accuracy():
    rows = [
        {"test": "lfw", "label": label, "protocol": "ten folds", "metric": metric, "at": at, "value": 0.5}
        for label in ("a", "b")
        for metric, at in (("tar", 0.1), ("accuracy", None), ("auc", None))
    ]
    assert {r["metric"] for r in number_of("lfw", rows)} == {"accuracy"}


def test_a_runs_folder_ends_in_records_of_all_kinds(tmp_path):
    """Two tests, groups in each; from the files of the runs to the lines of records.jsonl."""
    runs, vectors = runs_of(0.5)
    labels = ["softmax", "equal", "biased"]
    plan = [
        {"run": f"{label}{seed}", "folder": f"{label}-{seed}", "label": label, "loss": label, "seed": seed}
        for seed in range(3)
        for label in labels
    ]
    study = Study(data="faces", losses=tuple(labels), seeds=3)
    (tmp_path / "study.json").write_text(study.model_dump_json())
    data = [{"kind": "data", "role": "train", "images": 9}]
    (tmp_path / "plan.json").write_text(json.dumps({"data": data, "runs": plan}))
    rng = np.random.default_rng(0)
    for run in plan:
        who = {key: run[key] for key in ("run", "label", "loss", "seed")}
        key = (run["label"], run["seed"])
        rows, influences = [{"kind": "run", **who, "status": "finished", "reason": ""}], dict(vectors[key])
        rows += [{**who, **record} for record in runs[key]]
        for test in ("t", "u"):
            cell = Cell(test, "cross-matrix", "tar", 0.01)
            rows.append({"kind": "result", **who, **cell._asdict(), "value": 0.5 + rng.normal(0, 0.01), "pairs": 500,
                         "effective": 90.0, "status": "measured", "attained": 0.01})  # fmt: skip
            influences[cell.name] = rng.normal(0, 1e-3, 160)
        folder = tmp_path / "runs" / run["folder"]
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(rows))
        (folder / "cost.json").write_text("{}")
        file = io.BytesIO()
        np.savez(file, **influences)
        (folder / "influence.npz").write_bytes(file.getvalue())
    found = [json.loads(line) for line in assemble(tmp_path).read_text().splitlines()]
    kinds = {row["kind"] for row in found}
    assert {"group", "group summary", "group difference", "ranking", "ranking pair", "difference"} <= kinds
    west = next(r for r in found if r["kind"] == "group difference" and (r["label"], r["metric"], r["group"])
                == ("biased", "fnmr", "west"))  # fmt: skip
    assert west["verdict"] == "worse"
    head = next(r for r in found if r["kind"] == "ranking")
    assert [test["test"] for test in head["tests"]] == ["t", "u"]
    for row in found:
        if row["kind"] == "difference":  # two comparisons: half of the tests that ask for 5 % each
            assert row["detectable"] > (row["high"] - row["low"]) / 2
