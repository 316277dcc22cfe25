"""Corruptions of the tests and noise in training, from options to records."""

import json
from pathlib import Path

import numpy as np
import pytest

from faceloss.compare.model import Corrupted, embedded, load_model
from faceloss.compare.noise import Noise, noise_from, words_of
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.records import command
from faceloss.compare.robustness import robust_cell, robustness_rows
from faceloss.compare.run import execute
from faceloss.compare.study import Run, Study, competitors, plan
from faceloss.data.noise import spoil
from faceloss.errors import BadInput
from faceloss.evaluate import Condition, judge_robustness, paired_difference
from faceloss.evaluate.protocol import judge_protocol, load_protocol
from faceloss.evaluate.rows import result_record
from faceloss.evaluate.twins import faces as people
from faceloss.train.loop import Stopped
from faceloss.train.settings import Recipe

RECIPE = Recipe(epochs=1, size=32, dim=16, batch=32, net_options={"width": 8}, device="cpu", precision="fp32")


def kinds(folder: Path, kind: str) -> list[dict]:
    return [row for row in json.loads((folder / "result.json").read_text()) if row["kind"] == kind]


@pytest.fixture(scope="module")
def study() -> Study:
    """The built-in faces, seen once by a tiny net."""
    recipe = RECIPE.model_copy(update={"size": 24, "batch": 64})
    return Study(data="builtin", losses=("softmax",), seeds=1, recipe=recipe, robustness=("contrast", "occlusion"))


@pytest.fixture(scope="module")
def judged(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Bench, Path]:
    """A run of that study that nobody disturbed."""
    bench = prepare(study)
    (run,) = plan(study, competitors(study, len(bench.train.identities)), bench.digests)
    folder = tmp_path_factory.mktemp("judged") / "run"
    told: list[dict[str, float]] = []
    assert execute(run, study, bench, folder, show=lambda state, total, facts: told.append(facts)) == "finished"
    assert [facts["corrupted"] for facts in told if "corrupted" in facts] == list(range(11))
    return run, bench, folder


def test_a_corrupted_test_is_measurably_worse_and_level_0_is_the_clean_one(judged) -> None:
    _, _, folder = judged
    rows = {(r["corruption"], r["level"]): r for r in kinds(folder, "robustness")}
    assert len(rows) == 1 + 2 * 6 + 1
    clean = rows["", 0]
    tar = next(r for r in kinds(folder, "result") if (r["metric"], r["at"]) == ("tar", clean["at"]))
    assert (clean["metric"], clean["at"], tar["protocol"]) == ("fnmr", 1e-2, "cross-matrix")
    assert 0 < clean["value"] < 1
    assert (clean["value"], clean["attained"], clean["pairs"]) == (1 - tar["value"], tar["attained"], tar["pairs"])
    for name in ("contrast", "occlusion"):
        assert rows[name, 5]["low"] > clean["high"]
        assert clean["value"] < rows[name, None]["value"] < rows[name, 5]["value"]
    with np.load(folder / "influence.npz") as archive:
        assert {robust_cell(row).name for row in rows.values()} <= set(archive.files)


def test_a_model_is_judged_as_its_run_was(judged, toy_faces: Path) -> None:
    _, bench, folder = judged
    model, test = load_model(folder, precision="fp32"), bench.tests[0].faces
    asked = [("occlusion", 2), ("contrast", 5)]
    given = {
        "embeddings": model.embedder(test.pixels[:]),
        "identities": np.array(test.identities)[test.labels],
        "corrupted": Corrupted(model, test, asked),
        "conditions": np.array([f"{name} {level}" for name, level in asked]),
    }
    protocol = load_protocol("robustness")
    some = protocol._replace(settings={"corruptions": ["occlusion"], "levels": [2]})
    (clean, found, *_) = judge_protocol(some, given).rows
    theirs = {(r["corruption"], r["level"]): r for r in kinds(folder, "robustness")}
    for row, key in ((clean, ("", 0)), (found, ("occlusion", 2))):
        assert (row.value, row.low, row.threshold) == tuple(theirs[key][name] for name in ("value", "low", "threshold"))
    arrays, _ = embedded(model, str(toy_faces), conditions=asked)
    assert arrays["conditions"].tolist() == ["occlusion 2", "contrast 5"]
    assert len(arrays["corrupted"]) == 2
    assert arrays["corrupted"][1].shape == arrays["embeddings"].shape == (128, 16)
    assert not np.array_equal(arrays["corrupted"][1], arrays["embeddings"])
    with pytest.raises(BadInput, match="no corruption named 'fog'"):
        embedded(model, str(toy_faces), conditions=[("fog", 1)])


def test_stopped_while_judging_it_goes_on_to_the_same_bytes(study: Study, judged, tmp_path: Path) -> None:
    run, bench, folder = judged
    asked: list[int] = []

    def show(state, total, facts) -> None:
        asked.append(1) if facts.get("corrupted") == 3 else None

    with pytest.raises(Stopped):
        execute(run, study, bench, tmp_path / "run", stop=lambda: bool(asked), show=show)
    assert asked
    assert not (tmp_path / "run" / "result.json").exists()
    assert execute(run, study, bench, tmp_path / "run") == "finished"
    first, second = (json.loads((place / "result.json").read_text()) for place in (folder, tmp_path / "run"))
    assert first == second
    vectors = [np.load(place / "influence.npz") for place in (folder, tmp_path / "run")]
    assert all(np.array_equal(vectors[0][name], vectors[1][name]) for name in vectors[0].files)


# From runs to the records of a study


def runs_of(seeds: int = 3):
    """softmax; an equal of it; a loss that is better on clean and corrupted probes by as much; one that is as good on
    clean ones and worse on corrupted ones."""
    runs, vectors = {}, {}
    for label in ("softmax", "equal", "better", "fragile"):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            e, labels = people(rng, np.full(100, 4), dim=24, noise=1.0)
            own = np.random.default_rng([seed, *label.encode()])
            e = e + 0.05 * own.normal(size=e.shape)
            centers = np.stack([e[labels == k].mean(axis=0) for k in range(100)])[labels]
            e = centers + (e - centers) * (0.85 if label == "better" else 1.0)
            blurred = [e + (0.12 if label != "fragile" else 0.3) * k * own.normal(size=e.shape) for k in range(1, 6)]
            rows = judge_robustness(e, [Condition("blur", k, x) for k, x in enumerate(blurred, start=1)], labels)
            records = [
                {**result_record(row), "kind": "robustness", "test": "t", "corruption": row.corruption,
                 "level": row.level} for row in rows
            ]  # fmt: skip
            runs[label, seed] = records
            vectors[label, seed] = {robust_cell(r).name: row.influence for r, row in zip(records, rows, strict=True)}
    return runs, vectors


LABELS = ["softmax", "equal", "better", "fragile"]


def rows_of(runs, vectors, diverged=frozenset(), baseline="softmax"):
    rows = robustness_rows(LABELS, {label: label for label in LABELS}, baseline, runs, vectors, set(diverged))
    return {(r["kind"].split()[1], r["label"], r["corruption"], r["level"], r["metric"]): r for r in rows}


def test_more_robust_and_just_better_are_told_apart():
    runs, vectors = runs_of()
    rows = rows_of(runs, vectors)
    verdicts = {
        label: [rows["difference", label, *cell]["verdict"]
                for cell in (("", 0, "fnmr"), ("blur", None, "fnmr"), ("blur", None, "added fnmr"))]
        for label in LABELS[1:]
    }  # fmt: skip
    assert verdicts["equal"] == ["no difference found"] * 3
    assert verdicts["better"][:2] == ["better", "better"]
    assert verdicts["fragile"] == ["no difference found", "worse", "worse"]
    fragile = rows["difference", "fragile", "blur", None, "added fnmr"]
    parts = [rows["difference", "fragile", *cell]["value"] for cell in (("blur", None, "fnmr"), ("", 0, "fnmr"))]
    assert fragile["value"] == pytest.approx(parts[0] - parts[1])
    mean, clean = (f"t|robustness|{name}|fnmr|0.01" for name in ("blur|None", "|0"))
    values, psi = (
        [[own(label, s, blurred) - own(label, s, plain) for s in range(3)] for label in ("fragile", "softmax")]
        for own, blurred, plain in (
            (lambda label, s, key: next(r["value"] for r in runs[label, s] if (r["corruption"], r["level"]) == key),
             ("blur", None), ("", 0)),
            (lambda label, s, key: vectors[label, s][key], mean, clean),
        )
    )  # fmt: skip
    expected = paired_difference(*values, *psi)
    assert (fragile["low"], fragile["high"], fragile["p"]) == pytest.approx((expected.low, expected.high, expected.p))
    assert fragile["p_holm"] >= fragile["p"]
    assert not any(key[:2] == ("difference", "softmax") for key in rows)
    assert not any(level for kind, _, _, level, _ in rows if kind == "difference")  # clean and means only


def test_summaries_are_means_over_seeds():
    runs, vectors = runs_of()
    rows = rows_of(runs, vectors)
    row = rows["summary", "fragile", "blur", 4, "fnmr"]
    own = [
        r["value"] for seed in range(3) for r in runs["fragile", seed] if (r["corruption"], r["level"]) == ("blur", 4)
    ]
    assert (row["value"], row["spread"]) == (pytest.approx(np.mean(own)), pytest.approx(np.std(own, ddof=1)))
    assert row["low"] < row["value"] < row["high"]
    assert (row["protocol"], row["seeds"], row["status"]) == ("robustness", 3, "measured")


def test_what_diverged_or_is_not_measurable_stays_a_row():
    runs, vectors = runs_of(2)
    for seed in (0, 1):
        del runs["better", seed]
    for record in runs["fragile", 1]:
        if record["level"] is None:
            record |= {"value": None, "status": "not measurable", "note": "no direction"}
    rows = rows_of(runs, vectors, {"better"})
    assert rows["difference", "better", "blur", None, "fnmr"]["verdict"] == "diverged"
    assert rows["difference", "fragile", "blur", None, "fnmr"]["verdict"] == "not measurable"
    assert rows["difference", "fragile", "blur", None, "added fnmr"]["verdict"] == "not measurable"
    assert rows["difference", "fragile", "", 0, "fnmr"]["verdict"] == "no difference found"  # two seeds
    assert rows["summary", "fragile", "blur", None, "fnmr"]["note"] == "no direction"
    alone = rows_of(runs, vectors, baseline="")  # a single training has nothing to be compared with
    assert {kind for kind, *_ in alone} == {"summary"}
    assert rows_of({}, {}) == {}


# Noise in training


def test_the_options_of_noise_and_back():
    noise = noise_from(("flip=0.2", "outlier=0.1,seed=3"), 10)
    assert noise == Noise(flip=0.2, outlier=0.1, imbalance=10, seed=3)
    assert words_of(noise) == ["--label-noise flip=0.2,outlier=0.1,seed=3", "--imbalance 10"]
    assert noise_from((), None) == Noise()
    assert words_of(Noise()) == []
    study = Study(data="d", losses=("softmax",), noise=noise, robustness=("blur", "mask"))
    assert "--label-noise flip=0.2,outlier=0.1,seed=3 --imbalance 10 --robustness blur,mask --epochs" in command(study)
    assert "noise" not in command(Study(data="d", losses=("softmax",)))


@pytest.mark.parametrize(
    ("texts", "imbalance", "sentence"),
    [
        (("flip",), None, "write flip=SHARE or outlier=SHARE"),
        (("flop=0.1",), None, "did you mean 'flip'"),
        (("flip=0.1", "flip=0.2"), None, "flip is given twice"),
        (("flip=much",), None, "much is no number"),
        (("outlier=1",), None, "outlier=1: a share of the images, from 0 to below 1"),
        (("flip=nan",), None, "flip=nan: a share"),
        (("seed=-1",), None, "whole number, 0 or more"),
        (("seed=1.5",), None, "1.5 is no number"),
        ((), 0.1, "--imbalance 0.1: how many times"),
        ((), float("nan"), "--imbalance nan"),
    ],
)
def test_noise_that_cannot_be_meant_is_one_sentence(texts, imbalance, sentence):
    with pytest.raises(BadInput, match=sentence):
        noise_from(texts, imbalance)


def test_only_training_is_spoiled_and_for_every_seed_alike(toy_faces: Path) -> None:
    clean = Study(data=str(toy_faces), losses=("softmax",), recipe=RECIPE)
    noise = Noise(flip=0.2, outlier=0.1, imbalance=2)
    study = clean.model_copy(update={"noise": noise})
    before, after = prepare(clean), prepare(study)
    assert [test.faces.digest for test in after.tests] == [test.faces.digest for test in before.tests]
    assert after.val is not None
    assert after.val.digest == before.val.digest  # type: ignore[union-attr]
    assert after.enrolled.digest == before.train.digest == before.enrolled.digest
    assert after.train.digest == spoil(before.train, **noise.model_dump()).faces.digest != before.train.digest
    train = after.records[0]
    n = train["images"]
    assert (train["role"], n, train["identities"]) == ("train", len(after.train), len(after.train.identities))
    said = train["noise"]
    assert (said["flipped"], said["outliers"]) == (round(0.2 * n), round(0.1 * n))
    assert said["images_left_out"] > 0
    assert 0 < said["identities_given_up"] == len(before.train.identities) - train["identities"]
    assert not set(after.train.identities) & {name for test in after.tests for name in test.faces.identities}
    assert not any("noise" in record for record in (*before.records, *after.records[1:]))
    ids = [plan(s, competitors(s, 5), prepare(s).digests)[0].id for s in (clean, study)]
    assert ids[0] != ids[1]
    robust = clean.model_copy(update={"robustness": ("blur",)})
    assert plan(robust, competitors(robust, 5), before.digests)[0].id != ids[0]
