"""The tiled cross-matrix against all pairs at once, with tiles small enough that every kind of tile occurs."""

import numpy as np
import pytest

from faceloss.evaluate import matrix, metrics, passes
from faceloss.evaluate.metrics import NotMeasurable
from faceloss.evaluate.verification import verify_pairs


def unit(embeddings):
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)


def all_pairs(e, labels):
    """The float32 scores the tiles see, pair by pair."""
    order = np.argsort(labels, kind="stable")
    e, labels = e[order], labels[order]
    a, b = np.triu_indices(len(e), 1)
    scores = (e @ e.T)[a, b].astype(np.float64)
    return scores, labels[a] == labels[b], labels[a], labels[b]


@pytest.fixture
def exact_set(make_set):
    """Embeddings on a coarse grid with a power-of-two norm: products are exact however they are summed, and ties
    abound."""
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    centers = rng.choice([-0.25, 0.25], size=(40, 16))
    flips = rng.random((len(labels), 16)) < 0.14
    e = np.where(flips, -1, 1) * centers[labels]
    order = rng.permutation(len(labels))
    return e[order].astype(np.float32), labels[order]


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(passes, "ROWS", 7)
    monkeypatch.setattr(passes, "COLUMNS", 9)


@pytest.mark.parametrize("kept", [0, 10**7])
def test_the_matrix_is_all_pairs(exact_set, small_tiles, monkeypatch, kept):
    monkeypatch.setattr(passes, "KEPT", kept)
    e, labels = exact_set
    assert np.linalg.norm(e, axis=1) == pytest.approx(1)
    found = matrix.verify_matrix(e, labels, 40)
    scores, same, first, second = all_pairs(e, labels)
    g, x = scores[same], scores[~same]
    assert (found.genuine, found.impostor) == (g.size, x.size)
    assert len(np.unique(scores)) < 20  # ties everywhere
    assert len(found.points) >= 2
    for point in found.points:
        plain = metrics.tar_at_far(g, x, point.far)
        assert (point.value, point.attained) == (pytest.approx(plain.tar), pytest.approx(plain.attained))
        assert np.mean(x >= point.threshold) == plain.attained
    assert found.eer.value == pytest.approx(metrics.eer(g, x).value, abs=1e-12)
    assert found.auc.value == pytest.approx(metrics.auc(g, x), abs=1e-12)
    assert 0.7 < found.auc.value < 1
    naive = np.zeros(40)  # placement values, pair by pair
    for s, mate, a, b in zip(scores, same, first, second, strict=True):
        if mate:
            naive[a] += (np.mean(x < s) + np.mean(x == s) / 2 - found.auc.value) / g.size
        else:
            naive[[a, b]] += (np.mean(g > s) + np.mean(g == s) / 2 - found.auc.value) / x.size
    assert np.abs(naive).max() > 1e-4
    assert found.auc.influence == pytest.approx(naive, rel=1e-4, abs=1e-7)


def test_influences_of_the_matrix_are_those_of_its_pairs(make_set, small_tiles):
    """Embeddings on a fine grid: sums of products are exact in float32, so nothing but the method could differ."""
    embeddings, labels = make_set(identities=60, images=(2, 6), noise=0.9)
    e = (np.round(unit(embeddings) * 58) / 64).astype(np.float32)
    found = matrix.verify_matrix(e, labels, 60)
    scores, same, first, second = all_pairs(e, labels)
    assert len(np.unique(scores)) > 1000
    whole = verify_pairs(scores, same, first, second, 60)
    assert [p.far for p in found.points] == [p.far for p in whole.points]
    for ours, theirs in zip((*found.points, found.eer), (*whole.points, whole.eer), strict=True):
        assert 0 < ours.value < 1
        assert ours.value == pytest.approx(theirs.value, abs=1e-12)
        assert np.abs(theirs.influence).max() > 1e-3
        assert ours.influence == pytest.approx(theirs.influence, rel=1e-6, abs=1e-9)
    assert found.auc.value == pytest.approx(whole.auc.value, abs=1e-12)
    assert found.det.far.size > 20
    assert found.det.frr == pytest.approx(np.interp(found.det.far, whole.det.far[::-1], whole.det.frr[::-1]), abs=0.03)


def test_binned_auc_keeps_its_bound(make_set, monkeypatch):
    embeddings, labels = make_set(identities=50, images=(2, 6))
    for module in (passes, matrix):
        monkeypatch.setattr(module, "BINS", 2**6)  # so coarse that the error shows
    monkeypatch.setattr(passes, "KEPT", 0)
    coarse = matrix.verify_matrix(unit(embeddings), labels, 50)
    monkeypatch.setattr(passes, "KEPT", 10**7)
    exact = matrix.verify_matrix(unit(embeddings), labels, 50)
    error = abs(coarse.auc.value - exact.auc.value)
    assert 0 < error <= coarse.auc_error < 0.05
    assert exact.auc_error == 0
    # Thresholds stay exact however coarse the bins are.
    assert [p.value for p in coarse.points] == [p.value for p in exact.points]
    scores, same, *_ = all_pairs(unit(embeddings), labels)
    assert coarse.eer.value == pytest.approx(metrics.eer(scores[same], scores[~same]).value, abs=2e-3)


def test_order_of_the_images_does_not_matter(exact_set):
    e, labels = exact_set
    order = np.random.default_rng(2).permutation(len(e))
    one, two = matrix.verify_matrix(e, labels, 40), matrix.verify_matrix(e[order], labels[order], 40)
    assert [p[:4] for p in one.points] == [p[:4] for p in two.points]
    assert (one.eer.value, one.auc.value) == (pytest.approx(two.eer.value), pytest.approx(two.auc.value))
    assert one.points[0].influence == pytest.approx(two.points[0].influence)


def test_every_pair_is_seen_once(exact_set, small_tiles):
    e, labels = exact_set
    faces = passes.labelled_set(e, labels, 40)
    seen = np.zeros((len(e), len(e)), dtype=int)
    genuine = 0
    done = []
    for tile in passes.tiles(faces, "count", lambda what, now, total: done.append((now, total))):
        seen[tile.rows, tile.columns] += 1 if tile.impostor is None else tile.impostor
        genuine += 0 if tile.genuine is None else int(tile.genuine.sum())
    different = faces.subject[:, None] != faces.subject[None, :]
    assert (seen == np.triu(different)).all()
    assert genuine == faces.genuine > 0
    assert done[-1] == (len(e), len(e))


def test_histograms_are_densities(exact_set):
    found = matrix.verify_matrix(*exact_set, 40)
    width = np.diff(found.scores.edges)
    assert np.sum(found.scores.genuine * width) == pytest.approx(1)
    assert np.sum(found.scores.impostor * width) == pytest.approx(1)


def test_det_falls_and_lies_in_its_band(make_set):
    embeddings, labels = make_set(identities=80, images=(2, 5), noise=0.9)
    det = matrix.verify_matrix(unit(embeddings), labels, 80).det
    assert det.far.size > 20
    assert (np.diff(det.far) <= 0).all()
    assert (np.diff(det.frr) >= 0).all()
    assert det.far.min() * 80 * 79 / 2 > 1
    assert (det.low <= det.frr).all()
    assert (det.frr <= det.high).all()
    assert (det.high - det.low).max() > 0.05


def test_without_a_genuine_pair(make_set):
    embeddings, _ = make_set()
    with pytest.raises(NotMeasurable, match="0 genuine"):
        matrix.verify_matrix(unit(embeddings), np.arange(len(embeddings)), len(embeddings))


def test_tar_by_identity_counts_every_person_once() -> None:
    rng = np.random.default_rng(3)
    sizes = np.array([40, 3, 2, 5, 2, 1, 4, 6, 3, 2, 8, 2] * 4)
    subject = np.repeat(np.arange(sizes.size), sizes)
    centers = rng.normal(size=(sizes.size, 8))
    e = centers[subject] + rng.normal(size=(subject.size, 8)) * rng.uniform(0.2, 2.0, sizes.size)[subject, None]
    e = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
    found = matrix.verify_matrix(e, subject, sizes.size)
    assert found.even
    cosine = e.astype(np.float64) @ e.T.astype(np.float64)
    for point, plain in zip(found.even, found.points, strict=True):
        shares = []
        for s in np.flatnonzero(sizes > 1):
            rows = np.flatnonzero(subject == s)
            scores = [cosine[i, j] for a, i in enumerate(rows) for j in rows[a + 1 :]]
            shares.append(np.mean(np.array(scores) >= point.threshold))
        assert point.value == pytest.approx(np.mean(shares), abs=1e-9)
        assert abs(point.value - plain.value) > 1e-3  # the big identity is not typical: the two differ


def test_influence_of_tar_by_identity_agrees_with_repeated_sampling() -> None:
    """Draw the people anew many times: the spread of the estimate is what its influence vector says."""
    estimates, errors = [], []
    for trial in range(150):
        rng = np.random.default_rng(trial)
        sizes = rng.integers(2, 7, 120)
        subject = np.repeat(np.arange(120), sizes)
        e = (
            rng.normal(size=(120, 6))[subject]
            + rng.normal(size=(subject.size, 6)) * rng.uniform(0.3, 1.2, 120)[subject, None]
        )
        e = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
        point = next(p for p in matrix.verify_matrix(e, subject, 120).even if p.far == 1e-2)
        estimates.append(point.value)
        errors.append(float(np.sqrt(np.sum(point.influence**2))))
    assert 0.8 < np.mean(errors) / np.std(estimates) < 1.25


def test_where_everybody_has_as_many_images_the_two_are_one(make_set):
    embeddings, labels = make_set(identities=40, images=(4, 4))
    found = matrix.verify_matrix(unit(embeddings), labels, 40)
    assert found.points
    assert found.even == ()
