"""Neural-collapse measures: 0 on a simplex made by hand, equal to naive loops elsewhere, honest beyond K = D + 1."""

import math

import numpy as np
import pytest

from faceloss import evaluate
from faceloss.errors import BadInput
from faceloss.evaluate import neural_collapse as nc
from faceloss.evaluate.geometry import mean_cosine, unit

SIMPLEX = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)  # corners of a tetrahedron


def collapsed(each=5, offset=0.0):
    """Every sample at its corner; the whole moved by ``offset``, which centering must take away."""
    labels = np.repeat(np.arange(4), each)
    return 7 * SIMPLEX[labels] + offset, labels


def generic(classes, dim, seed=0):
    """Classes of unequal size, so that pooling over samples and averaging over classes differ."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rng.integers(2, 6, classes))
    assert len(set(np.bincount(labels))) > 1
    rows = rng.normal(size=(classes, dim))[labels] + 0.4 * rng.normal(size=(len(labels), dim))
    order = rng.permutation(len(labels))
    return rows[order], labels[order], rng.normal(size=(classes, dim))


@pytest.mark.parametrize("offset", [0.0, np.array([3.0, -2.0, 1.0])])
def test_a_simplex_made_by_hand_is_collapsed(offset):
    rows, labels = collapsed(offset=offset)
    found = evaluate.measure_collapse(rows, labels, 0.3 * SIMPLEX)
    assert (found.applies, found.classes, found.dim) == ("simplex", 4, 3)
    zeros = [*found.within[:2], found.norms, found.angles, found.simplex, found.duality, found.disagreement]
    zeros += [found.vector_norms, found.vector_angles, found.vector_simplex, found.cosines.std]
    np.testing.assert_allclose(zeros, 0, atol=1e-12)
    assert found.within.rank == 3
    assert found.cosines.mean == pytest.approx(-1 / 3)
    assert found.cosines.largest == pytest.approx(-1 / 3)
    assert found.cosines.nearest == pytest.approx(math.sqrt(8 / 3))


def naive(rows, labels, vectors):
    """The definitions, one sample and one pair at a time; the pseudo-inverse is numpy's own."""
    present = sorted(set(labels.tolist()))
    means = [np.mean([r for r, y in zip(rows, labels, strict=True) if y == k], axis=0) for k in present]
    center = sum(means) / len(means)
    m = [mu - center for mu in means]
    count, dim = len(present), rows.shape[1]
    within = sum(np.outer(r - means[y], r - means[y]) for r, y in zip(rows, labels, strict=True)) / len(rows)
    between = sum(np.outer(v, v) for v in m) / count
    inverse = np.linalg.pinv(between, rcond=1e-10, hermitian=True)
    cos = [[a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in m] for a in m]
    pairs = [cos[i][j] for i in range(count) for j in range(count) if i != j]
    nearest = [math.sqrt(2 - 2 * max(cos[i][j] for j in range(count) if j != i)) for i in range(count)]
    gram = np.array([[a @ b for b in m] for a in m])
    ideal = np.array([[(i == j) - 1 / count for j in range(count)] for i in range(count)]) / math.sqrt(count - 1)
    norms = [np.linalg.norm(v) for v in m]
    differ = 0
    for r in rows:
        by_mean = min(range(count), key=lambda k: np.linalg.norm(r - means[k]))
        by_vector = max(range(count), key=lambda k: r @ vectors[k])
        differ += by_mean != by_vector
    big = np.stack(m)
    return {
        "papyan": np.trace(within @ inverse) / count,
        "ratio": np.trace(within) / np.trace(between),
        "rank": min(count - 1, dim),
        "norms": np.std(norms) / np.mean(norms),
        "angles": np.mean([abs(c + 1 / (count - 1)) for c in pairs]),
        "simplex": np.linalg.norm(gram / np.linalg.norm(gram) - ideal),
        "cosines": [np.mean(pairs), np.std(pairs), max(pairs), np.mean(nearest)],
        "duality": np.linalg.norm(vectors / np.linalg.norm(vectors) - big / np.linalg.norm(big)) ** 2,
        "disagreement": differ / len(rows),
    }


@pytest.mark.parametrize(("classes", "dim"), [(4, 3), (5, 9), (12, 4), (2, 1)])
def test_they_are_the_naive_loops(classes, dim, monkeypatch):
    monkeypatch.setattr(nc, "BLOCK", 5)
    rows, labels, vectors = generic(classes, dim, seed=classes)
    found, wanted = evaluate.measure_collapse(rows, labels, vectors), naive(rows, labels, vectors)
    assert 0 < wanted["disagreement"] < 1 or classes == 2
    assert found.within.papyan == pytest.approx(wanted["papyan"], rel=1e-9)
    assert found.within.ratio == pytest.approx(wanted["ratio"], rel=1e-12)
    assert found.within.rank == wanted["rank"]
    assert found.norms == pytest.approx(wanted["norms"], rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(found.cosines[:4], wanted["cosines"], rtol=1e-9, atol=1e-9)
    assert found.duality == pytest.approx(wanted["duality"], rel=1e-9)
    assert found.disagreement == wanted["disagreement"]
    if classes <= dim + 1:
        assert found.angles == pytest.approx(wanted["angles"], rel=1e-9, abs=1e-12)
        assert found.simplex == pytest.approx(wanted["simplex"], rel=1e-9, abs=1e-9)
        assert found.applies == "simplex"
    else:
        assert found.angles is found.simplex is found.vector_angles is found.vector_simplex is None
        assert found.applies == "cosines"
        assert found.cosines.largest > found.cosines.welch > 0


def test_the_measures_of_the_class_vectors_are_those_of_the_vectors():
    rows, labels, vectors = generic(4, 6)
    found = evaluate.measure_collapse(rows, labels, vectors)
    measures = found.vector_norms, found.vector_angles, found.vector_simplex
    assert measures == (nc.norm_spread(vectors), nc.angle_error(vectors), nc.simplex_error(vectors))
    assert min(measures) > 0.01
    without = evaluate.measure_collapse(rows, labels)
    assert {without.vector_norms, without.vector_angles, without.duality, without.disagreement} == {None}


def test_more_classes_than_dimensions_and_one_are_not_judged_by_the_simplex():
    """The best that 8 vectors in 4 dimensions can do, +-e_i, is far from 8 cosines of -1/7; its statistics are said."""
    cross = np.concatenate([np.eye(4), -np.eye(4)])
    rows = np.repeat(cross, 3, axis=0)
    found = evaluate.measure_collapse(rows, np.repeat(np.arange(8), 3), cross)
    assert found.applies == "cosines"
    assert found.angles is None
    assert found.simplex is None
    assert found.within[:2] == pytest.approx((0, 0))
    assert found.within.rank == 4, "of K - 1 = 7 dimensions only 4 exist"
    assert found.cosines.mean == pytest.approx(-1 / 7)
    assert found.cosines.largest == pytest.approx(0, abs=1e-12)
    assert found.cosines.nearest == pytest.approx(math.sqrt(2))
    assert found.cosines.welch == pytest.approx(math.sqrt(4 / (4 * 7)))
    assert nc.reachable(5, 4)
    assert not nc.reachable(6, 4)


def test_rank_is_counted_not_guessed():
    """Means on a line: rank 1 though 3 classes in 3 dimensions allow 2; noise off the line is for the ratio to see."""
    line = np.array([[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    off = np.array([[0.0, 1, 0], [0, -1, 0]])
    rows = np.concatenate([line + off[0], line + off[1]]) + 1e3
    found = nc.within_variability(rows, [0, 1, 2, 0, 1, 2])
    assert found.rank == 1
    assert found.papyan == pytest.approx(0, abs=1e-9)
    assert found.ratio == pytest.approx(1.5)


def test_means_that_coincide_give_no_nan():
    rows = np.array([[1.0, 2], [-1, -2], [2, 1], [-2, -1]])
    found = evaluate.measure_collapse(rows, [0, 0, 1, 1], np.zeros((2, 2)))
    assert found.within == (math.inf, math.inf, 0)
    assert evaluate.measure_collapse(np.ones((4, 2)), [0, 0, 1, 1]).within == (0, 0, 0)
    numbers = [found.norms, found.angles, found.simplex, found.duality, found.disagreement, *found.cosines]
    assert not any(math.isnan(number) for number in numbers)
    assert found.norms == 0


def test_scale_order_and_names_of_labels_change_nothing():
    rows, labels, vectors = generic(5, 6)
    found = evaluate.measure_collapse(rows, labels, vectors)
    order = np.random.default_rng(1).permutation(len(rows))
    other = evaluate.measure_collapse(13 * rows[order], 10 * labels[order] + 3, vectors)
    assert other.cosines == pytest.approx(found.cosines)
    assert other.within == pytest.approx(found.within)
    assert other[9:] == pytest.approx(found[9:])


@pytest.mark.parametrize(
    ("rows", "labels", "vectors", "sentence"),
    [
        (np.ones(4), [0, 1, 0, 1], None, "must be a matrix"),
        (np.ones((4, 2)), [0, 1, 0], None, "one for each embedding"),
        (np.ones((4, 2)), [0, 0, 0, 0], None, "at least 2 classes"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], None, "must be finite"),
        (np.eye(4)[:, :2], [0, 1, 0, 1], np.ones((3, 2)), r"given \[3, 2\]"),
    ],
)
def test_bad_input_is_a_sentence(rows, labels, vectors, sentence):
    with pytest.raises(BadInput, match=sentence):
        evaluate.measure_collapse(rows, labels, vectors)


def test_a_row_of_zeros_has_cosine_0_to_all():
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert mean_cosine(rows) == pytest.approx(1 / 3)
    assert nc.cosine_statistics(rows).mean == mean_cosine(rows)
    np.testing.assert_array_equal(unit(rows)[2], [0, 0])
