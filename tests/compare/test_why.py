"""What is measured once a run has ended: planted embeddings, every loss, and the records of real runs."""

import numpy as np
import pytest
import torch

from faceloss import losses
from faceloss.compare import prepare, why
from faceloss.compare.study import Competitor, Run
from faceloss.data.faces import Faces
from faceloss.losses import describe
from faceloss.losses.spread import class_rows

IDENTITIES, EACH, DIM = 12, 5, 16


def faces(identities: int = IDENTITIES, each: int = EACH, named: bool = True) -> Faces:
    count = identities * each
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)
    names = tuple(f"p{i}" if named else "" for i in range(identities))
    own = tuple(str(i) for i in range(count))
    labels = np.repeat(np.arange(identities), each)
    return Faces("toy", pixels, labels, names, own, ("",) * count, ("",) * count, own, (), "digest")


def simplex() -> np.ndarray:
    return np.eye(IDENTITIES, DIM) - np.eye(IDENTITIES, DIM).mean(axis=0)


def test_collapsed_embeddings_are_told_from_others() -> None:
    some = faces()
    vectors = simplex()
    lengths = np.random.default_rng(0).uniform(1, 9, (60, 1))
    collapsed = (lengths * vectors[some.labels]).astype(np.float32)
    spread = np.random.default_rng(1).normal(size=collapsed.shape).astype(np.float32)
    (tight,), (loose,) = (why.of_training(lambda _, rows=rows: rows, some, vectors) for rows in (collapsed, spread))
    assert (tight["kind"], tight["role"], tight["test"]) == ("collapse", "train", "toy")
    assert (tight["images"], tight["classes"], tight["dim"]) == (60, 12, 16)
    for name in ("nc1", "nc1_ratio", "nc2_norms", "nc2_angles", "nc3", "nc4"):
        assert tight[name] == pytest.approx(0, abs=1e-5)
        assert loose[name] > 0.1, name
    assert tight["effective_rank"] == pytest.approx(IDENTITIES - 1, abs=1e-3)
    assert tight["others_angles"][0] == 60
    assert sum(loose["others_angles"][12:]) > 50


def test_of_a_test_the_norm_is_compared_with_the_pixels() -> None:
    """Norms that are the contrast of the crops: rho 1; and of the embeddings at one length nothing can be said."""
    some = faces()
    some.pixels[:] = some.pixels * np.linspace(0.2, 1, 60)[np.random.default_rng(2).permutation(60), None, None, None]
    directions = simplex()[some.labels] + 0.1
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    contrast = some.pixels.astype(np.float64).std(axis=(1, 2, 3))
    rows = (directions * contrast[:, None]).astype(np.float32)
    records, influences = why.of_test(prepare.Test("t", some, None), rows, 0.3, 1e-2)
    found = {row["metric"]: row for row in records if row["kind"] == "norm"}
    assert found["rho contrast"]["value"] > 0.95
    assert found["rho contrast"]["low"] > 0.5
    assert [row["role"] for row in records if row["kind"] == "collapse"] == ["test"]
    assert found["fnmr others"]["value"] == 0.0
    assert found["fnmr others"]["at"] == 1e-2
    assert influences["t|norm|rho contrast"].shape == (IDENTITIES,)
    records, _ = why.of_test(prepare.Test("t", some, None), directions.astype(np.float32), None, None)
    assert {row["status"] for row in records if row["kind"] == "norm"} == {"not measurable"}


def test_of_images_without_identities_each_is_a_subject() -> None:
    some = faces(named=False)
    rows = np.random.default_rng(3).normal(size=(60, DIM)).astype(np.float32)
    records, _ = why.of_test(prepare.Test("t", some, None), rows, None, None)
    assert {row["kind"] for row in records} == {"norm"}
    assert {row["subjects"] for row in records} == {60}


def test_the_sample_is_even_and_has_mates() -> None:
    labels = np.concatenate([np.repeat(np.arange(100), 30), np.arange(100, 140), [-1, -1]])
    chosen = why.sample(labels, 32, 16)
    held, counts = np.unique(labels[chosen], return_counts=True)
    assert (len(held), set(counts.tolist())) == (32, {16})
    assert (held[0], held[-1]) == (0, 99)
    assert len(np.unique(chosen)) == len(chosen)
    assert why.sample(np.arange(9), 5, 5).size == 0


@pytest.mark.parametrize("name", losses.names())
def test_every_loss_with_classes_has_its_curve(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "ANGLES", (32.5, 92.5))
    monkeypatch.setattr(why, "PROBABILITIES", (0.5,))
    given = describe(name).start
    loss = losses.build(name, dim=8, classes=6, **given)
    moved = {key: float(value) for key, value in loss.hyperparameters().items()}
    records = why.of_loss(Run("id", Competitor(name, name, dict(given), loss.batches), 0), loss)
    embeddings = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert bool(records) == (loss.targets is not None)
    for record in records:
        assert (record["kind"], record["classes"], len(record["weight"])) == ("ruler", 6, 2)
        assert ("h" in record) == (describe(name).family == "search")
    assert {key: float(value) for key, value in loss.hyperparameters().items()} == moved


def test_of_a_searched_loss_it_is_the_curve_of_what_was_found() -> None:
    run = Run("id", Competitor("search_softmax", "search_softmax", {}, "shuffled"), 0)
    loss = losses.build("search_softmax", dim=8, classes=6)
    before = why.of_loss(run, loss)[0]
    loss.set_hyperparameters({"a": -9.0})
    after = why.of_loss(run, loss)[0]
    assert after["h"] == pytest.approx([1 / (1 + 9 * (1 - p)) for p in why.PROBABILITIES], rel=1e-5)
    assert after["weight"] != before["weight"]


def test_the_class_vectors_are_those_of_the_classes_asked_for() -> None:
    head = losses.build("arcface", dim=8, classes=6)
    rows = class_rows(head, torch.tensor([4, 1]))
    assert rows is not None
    assert torch.allclose(rows, torch.nn.functional.normalize(head.weight.detach()[[4, 1]]))
    plain = losses.build("softmax", dim=8, classes=6)
    assert torch.equal(class_rows(plain, torch.tensor([4, 1])), plain.weight.detach()[[4, 1]])  # type: ignore[arg-type]
    for name in ("subcenter_arcface", "triplet", "coco"):
        assert class_rows(losses.build(name, dim=8, classes=6), torch.tensor([0])) is None
    sampled = faces()
    own = losses.build("arcface", dim=DIM, classes=IDENTITIES)
    vectors = why.vectors_of(own, sampled)
    assert vectors is not None
    assert vectors.shape == (IDENTITIES, DIM)
    assert np.allclose(vectors.mean(axis=0), 0, atol=1e-6)


def numbers(metric: str, values: tuple[float | None, ...]) -> tuple[dict, dict]:
    rng = np.random.default_rng(0)
    runs, vectors = {}, {}
    for seed, value in enumerate(values):
        status = "not measurable" if value is None else "measured"
        runs["a", seed] = [{"kind": "norm", "test": "t", "metric": metric, "value": value, "status": status, "at": None,
                            "number": 90, "subjects": 30, "note": "", "low": None, "high": None}]  # fmt: skip
        psi = rng.normal(0, 0.01, 30)
        vectors["a", seed] = {} if value is None else {why.name_of("t", metric): psi - psi.mean()}
    return runs, vectors


def test_a_summary_is_the_mean_over_seeds_with_an_interval_over_people() -> None:
    for metric in ("rho noise", "fnmr others"):
        (row,) = why.norm_rows(["a", "b"], {"a": "x"}, *numbers(metric, (0.4, 0.5, 0.45)))
        assert (row["kind"], row["label"], row["loss"], row["seeds"]) == ("norm summary", "a", "x", 3)
        assert row["value"] == pytest.approx(0.45)
        assert row["spread"] == pytest.approx(0.05)
        assert row["low"] < 0.45 < row["high"]
        (one,) = why.norm_rows(["a"], {"a": "x"}, *numbers(metric, (0.45,)))
        assert one["spread"] is None
    (row,) = why.norm_rows(["a"], {"a": "x"}, *numbers("rho noise", (0.4, None)))
    assert (row["status"], row["value"]) == ("not measurable", None)
