"""Large sets get the numbers that small ones get, by another way."""

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import judge_matrix, judge_rank, matrix, metrics, scale, stream
from faceloss.evaluate.metrics import NotMeasurable
from faceloss.evaluate.verification import verify_pairs


def unit(embeddings):
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def faces(make_set):
    embeddings, labels = make_set(identities=250, images=(1, 8), dim=24, noise=0.9)
    return unit(embeddings), labels


def test_the_screen_finds_what_the_whole_matrix_finds(faces):
    e, labels = faces
    whole = matrix.verify_matrix(e, labels, 250)
    fars = [point.far for point in whole.points][1:]
    assert len(fars) >= 3
    found = scale.verify(e, labels, 250, fars=fars)
    assert (found.genuine, found.impostor, found.mated) == (whole.genuine, whole.impostor, whole.mated)
    assert (found.eer, found.auc, found.scores) == (None, None, None)
    for ours, theirs in zip((*found.points, *found.even), (*whole.points[1:], *whole.even[1:]), strict=True):
        assert ours.far == theirs.far
        assert 0.01 < ours.value < 1
        assert ours.value == pytest.approx(theirs.value, abs=1e-12)
        assert ours.attained == theirs.attained <= ours.far  # to the last pair
        assert ours.threshold == pytest.approx(theirs.threshold, abs=2e-7)  # float32 products differ in the last bit
        assert np.abs(theirs.influence).max() > 1e-4
        assert ours.influence == pytest.approx(theirs.influence, rel=0.02, abs=1e-5)
    inside = whole.det.far <= fars[0]
    assert inside.sum() > 10
    assert np.interp(np.log(whole.det.far[inside]), np.log(found.det.far[::-1]), found.det.frr[::-1]) == pytest.approx(
        whole.det.frr[inside], abs=0.02
    )
    assert ((found.det.low <= found.det.frr) & (found.det.frr <= found.det.high)).all()


def test_the_threshold_is_that_of_brute_force(faces):
    e, labels = faces
    scores = (e.astype(np.float64) @ e.astype(np.float64).T).astype(np.float32)
    a, b = np.triu_indices(len(e), 1)
    same = labels[a] == labels[b]
    g, x = scores[a, b][same], scores[a, b][~same]
    for point in scale.verify(e, labels, 250, fars=[1e-2, 3e-4]).points:
        k = metrics.allowed_errors(point.far, x.size)
        assert point.threshold == np.nextafter(np.sort(x)[-k - 1], np.float32(np.inf))
        assert point.attained == np.mean(x >= point.threshold)
        assert point.value == np.mean(g >= point.threshold)
    listed = verify_pairs(scores[a, b].astype(np.float64), same, labels[a], labels[b], 250)
    points = {point.far: point for point in scale.verify(e, labels, 250, fars=[1e-2, 1e-3]).points}
    assert set(points) == {1e-2, 1e-3}
    for theirs in listed.points:
        if theirs.far in points:
            assert points[theirs.far].influence == pytest.approx(theirs.influence, rel=1e-6, abs=1e-12)


def test_large_sets_are_screened_by_themselves(faces, monkeypatch):
    e, labels = faces
    whole = judge_matrix(e, labels)
    monkeypatch.setattr(scale, "WHOLE", 1000)
    monkeypatch.setattr(scale, "KEPT", 15_000)
    found = judge_matrix(e, labels)
    cells = {(row.metric, row.at): row for row in whole.rows}
    assert {row.metric for row in whole.rows} - {row.metric for row in found.rows} == {"eer", "auc"}
    measured = [row for row in found.rows if row.status == "measured"]
    assert {row.at for row in measured} == {1e-2, 1e-3, 1e-4}
    for row in measured:
        there = cells[row.metric, row.at]
        assert (row.value, row.attained) == (pytest.approx(there.value), there.attained)
        assert (row.low, row.high) == (pytest.approx(there.low, abs=5e-3), pytest.approx(there.high, abs=5e-3))
    assert [row.at for row in found.rows if row.status == "not measurable"] == [1e-5, 1e-6, 1e-7, 1e-8, 1e-9]
    assert found.scores is None
    assert found.det is not None


def test_ranks_of_large_sets(faces, monkeypatch):
    e, labels = faces
    plain = judge_rank(e, labels)
    assert 0.1 < plain.rows[0].value < 1
    monkeypatch.setattr(scale, "RANKED", 0)
    monkeypatch.setattr(scale, "leave_one_out_ranks", None)  # would fail
    seen = []
    found = judge_rank(e, labels, progress=lambda what, done, total: seen.append((what, done == total)))
    assert [row[:8] for row in found.rows] == [row[:8] for row in plain.rows]
    assert seen[-1] == ("ranks", True)


def test_best_of_large_galleries(faces, monkeypatch):
    e, labels = faces
    probes, gallery = slice(0, 300), slice(300, None)
    ends = [10, 10, 200, len(e) - 300]
    plain = stream.best(e[probes], labels[probes], e[gallery], labels[gallery], ends, None)
    monkeypatch.setattr(scale, "RANKED", 0)
    monkeypatch.setattr(stream, "best", None)  # would fail
    found = scale.best(e[probes], labels[probes], e[gallery], labels[gallery], ends, None)
    for ours, theirs in zip(found, plain, strict=True):
        assert (np.isinf(ours) == np.isinf(theirs)).all()
        seen = ~np.isinf(theirs)
        assert ours[seen] == pytest.approx(theirs[seen], abs=3e-7)
    assert np.isinf(found[0][:, 0]).any()
    assert not np.isinf(found[0][:, -1]).all()
    assert (found[1][:, 2] > found[1][:, 0]).any()


def test_copies_are_remarked(faces):
    e, labels = faces
    e = e.copy()
    assert scale.copies(e, labels) == ""
    first = np.flatnonzero(labels == 3)
    e[first[0]] = e[first[-1]]  # within an identity: nothing to remark
    assert len(first) > 1
    assert scale.copies(e, labels) == ""
    e[np.flatnonzero(labels == 5)[0]] = e[np.flatnonzero(labels == 9)[0]]
    assert scale.copies(e, labels).startswith("1 embeddings are exact copies")
    assert any("exact copies" in row.note for row in judge_matrix(e, labels).rows)


def test_refusals(faces):
    e, labels = faces
    with pytest.raises(BadInput, match="between 0 and 1"):
        judge_matrix(e, labels, fars=[1e-3, 0])
    with pytest.raises(NotMeasurable, match=r"FAR 1e-07 needs 300,000,000 impostor pairs"):
        judge_matrix(e, labels, fars=[1e-8, 1e-7])
    names = np.array([f"person {label}" for label in labels])
    names[7] = ""
    with pytest.raises(BadInput, match=r"1 of .* identities are empty"):
        judge_matrix(e, names)
    for bad, sentence in ((np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0, "zero vectors")):
        broken = e.copy()
        broken[3] = bad
        for judge in (judge_matrix, judge_rank):
            with pytest.raises(BadInput, match=sentence):
                judge(broken, labels)
    with pytest.raises(NotMeasurable, match="0 genuine"):
        scale.verify_largest(e, np.arange(len(e)), len(e), [1e-3])
