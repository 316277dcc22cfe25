"""RFW's twin on the built-in faces: a pair list of each group, from their paths to records and the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceloss.compare.group_records import group_rows
from faceloss.compare.judge import judge
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.study import Study
from faceloss.data.builtin import builtin_path
from faceloss.data.load import load_faces
from faceloss.evaluate import judge_pairs, ten_folds
from faceloss.report import write_report

GROUPS = ("african", "asian", "caucasian")
FOLDS, EACH = 10, 30


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Ten folds of 30 genuine and 30 impostor pairs within each group, of 50 people."""
    folder = tmp_path_factory.mktemp("rfw")
    rng = np.random.default_rng(0)
    faces = load_faces("builtin", size=64)
    for name in GROUPS:
        rows = np.flatnonzero((np.array(faces.groups) == name) & (faces.labels >= 110))
        a, b = np.triu_indices(len(rows), 1)
        mates = faces.labels[rows[a]] == faces.labels[rows[b]]
        lines = ["a,b,same,fold"]
        for same in (True, False):
            for k, pair in enumerate(rng.choice(np.flatnonzero(mates == same), FOLDS * EACH, replace=False)):
                files = faces.files[rows[a[pair]]], faces.files[rows[b[pair]]]
                lines.append(f"{files[0]},{files[1]},{int(same)},{k % FOLDS}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    given = str(folder / f"{{{','.join(GROUPS)}}}.csv")
    return prepare(Study(data="builtin", tests=(given,), images=str(builtin_path()), losses=("softmax",)))


def by_pixels(pixels: Any) -> Any:
    """Faces coarsely: groups do differ."""
    x = np.asarray(pixels, dtype=np.float32)
    x = x.reshape(len(x), 8, x.shape[1] // 8, 8, x.shape[1] // 8, 3).mean(axis=(2, 4)).reshape(len(x), -1)
    return ((x - x.mean(axis=0)) @ np.random.default_rng(9).normal(size=(8 * 8 * 3, 24))).astype(np.float32)


def by_names(bench: Bench, seed: int, worse: float) -> Any:
    """People of all groups alike, but for the images of one that vary more where ``worse`` > 0."""
    faces, rng = bench.tests[0].faces, np.random.default_rng(5)
    e = rng.normal(size=(len(faces.identities), 24))[faces.labels]
    own = 0.7 * rng.normal(size=e.shape)
    noise = np.where(np.array(faces.groups) == "asian", worse, 0.0)[:, None] + 0.15
    whole = (e + own + noise * np.random.default_rng(seed).normal(size=e.shape)).astype(np.float32)
    return lambda pixels: whole


def test_the_lists_of_groups_are_one_test_beside_the_training_counts(bench: Bench) -> None:
    (test,) = bench.tests
    assert test.name.endswith("/*.csv")
    assert test.pairs is not None
    assert len(test.pairs) == 3 * 2 * FOLDS * EACH
    data = {row["role"]: row for row in bench.records}
    assert data["test"]["pairs"] == len(test.pairs)
    assert sum(data["train"]["group_identities"].values()) == data["train"]["identities"] > 50
    assert set(data["test"]["groups"]) == set(GROUPS)
    assert not {*bench.train.identities} & {*test.faces.identities}  # they were in the same archive


def test_every_group_is_judged_at_one_threshold_for_all(bench: Bench) -> None:
    found = judge(by_pixels, bench)
    rates = {(r["metric"], r["group"]): r for r in found.results if r["kind"] == "group"}
    (test,) = bench.tests
    pairs = test.pairs
    assert pairs is not None
    e = by_pixels(test.faces.pixels[np.arange(len(test.faces))]).astype(np.float64)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    score = np.sum(e[pairs.first] * e[pairs.second], axis=1)
    right = ten_folds(score, pairs.same, pairs.fold).correct
    group = np.array(test.faces.groups)[pairs.first]
    for name in GROUPS:
        own = group == name
        fmr, fnmr, accuracy = (rates[metric, name] for metric in ("fmr", "fnmr", "accuracy"))
        assert fmr["threshold"] == fnmr["threshold"] == rates["fmr", GROUPS[0]]["threshold"]
        assert (fmr["at"], accuracy["at"]) == (0.1, None)  # 900 impostor pairs carry no smaller one
        assert fmr["value"] == pytest.approx(np.mean(score[own & ~pairs.same] >= fmr["threshold"]), abs=1e-9)
        assert fnmr["value"] == pytest.approx(np.mean(score[own & pairs.same] < fmr["threshold"]), abs=1e-9)
        assert accuracy["value"] == pytest.approx(right[own].mean(), abs=1e-9)
    assert len({rates["accuracy", name]["value"] for name in GROUPS}) == 3
    assert np.mean([rates["fmr", name]["value"] for name in GROUPS]) == pytest.approx(0.1, abs=1e-3)
    # Not the thresholds that each group would choose by itself.
    names = np.array(test.faces.identities)[test.faces.labels]
    own = group == GROUPS[0]
    alone = judge_pairs(e, pairs.first[own], pairs.second[own], pairs.same[own], pairs.fold[own], names).rows[0]
    assert alone.metric == "accuracy"
    assert alone.value != rates["accuracy", GROUPS[0]]["value"]
    whole = next(r for r in found.results if r["kind"] == "result" and r["metric"] == "accuracy")
    assert whole["value"] == pytest.approx(np.mean([rates["accuracy", name]["value"] for name in GROUPS]))
    assert not [r for r in found.results if r["kind"] == "group" and r["other"] and r["metric"] == "fmr"]
    assert all(f"{test.name}|groups|accuracy|{name}||None" in found.influences for name in GROUPS)


@pytest.mark.parametrize("worse", [1.2, 0.0])
def test_the_page_names_the_group_that_one_loss_harms_and_no_other(bench: Bench, tmp_path: Path, worse: float) -> None:
    """softmax makes the embeddings of one group worse, the other loss does not."""
    (test,) = bench.tests
    runs, vectors, rows = {}, {}, []
    for label in ("softmax", "fair"):
        for seed in range(3):
            harm = (seed, worse) if label == "softmax" else (100 + seed, 0.0)
            found = judge(by_names(bench, *harm), bench)
            who = {"label": label, "loss": label, "seed": seed}
            rows += [{"kind": "run", **who, "status": "finished"}, *({**who, **r} for r in found.results)]
            runs[label, seed] = [r for r in found.results if r["kind"] == "group"]
            vectors[label, seed] = found.influences
    study = {"kind": "study", "title": "t", "losses": ["softmax", "fair"], "baseline": "softmax", "seeds": [0, 1, 2]}
    told = group_rows(["softmax", "fair"], {x: x for x in ("softmax", "fair")}, "softmax", runs, vectors)
    whole = {"kind": "summary", "test": test.name, "protocol": "ten folds", "metric": "accuracy", "low": 0.4}
    whole |= {"high": 0.6, "status": "measured"}
    shown = [{**whole, "label": x, "loss": x, "value": v} for x, v in (("softmax", 0.5), ("fair", 0.55))]
    lines = [study, *bench.records, *rows, *shown, *told]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    page = write_report(tmp_path).read_text()
    text = page[page.index('<section id="groups"') : page.index('<section id="failures"')]
    verdicts = {(r["metric"], r["group"]): r["verdict"] for r in told if r["kind"] == "group difference"}
    assert "Under fair, no difference found between any group and the mean of the others." in text
    assert "at FAR 1e-1</h3>" in text
    assert "better everywhere but in accuracy" in text
    assert "FMR between groups" not in text  # the lists have no such pairs
    if worse:
        assert "FNMR of asian was higher (+" in text
        assert "accuracy of asian was lower (" in text
        assert verdicts["accuracy", "asian"] == verdicts["accuracy gap", ""] == "better"
        assert "The gap in accuracy against that of softmax: better: fair." in text
    else:
        assert "Under softmax, no difference found between any group and the mean of the others." in text
        assert set(verdicts.values()) == {"no difference found"}
        assert "▲" not in text
        assert "▼" not in text
