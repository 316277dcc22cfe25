"""From embeddings to rows: values against the metrics, honest gaps, refusals in one sentence."""

import json

import numpy as np
import pytest

from faceloss.errors import BadInput
from faceloss.evaluate import (
    Measured,
    evaluate_file,
    hold_out,
    judge_closed_set,
    judge_matrix,
    judge_pairs,
    judge_rank,
    linear,
    metrics,
    ten_folds,
    verification,
)


@pytest.fixture
def pair_list(make_set):
    """900 pairs in 6 folds over 60 identities."""
    e, labels = make_set(identities=60, images=(3, 7), noise=0.9)
    rng = np.random.default_rng(1)
    a, b = np.triu_indices(len(e), 1)
    mates = labels[a] == labels[b]
    pick = np.r_[rng.choice(np.flatnonzero(mates), 450), rng.choice(np.flatnonzero(~mates), 450)]
    pick = rng.permutation(pick)
    return e, labels, a[pick], b[pick], mates[pick], np.arange(900) // 150


def row(judged, metric, at=None):
    return next(r for r in judged.rows if r.metric == metric and r.at == at)


def test_pairs(pair_list):
    e, labels, a, b, same, fold = pair_list
    judged = judge_pairs(e, a, b, same, fold, labels)
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    score = np.sum(unit[a].astype(float) * unit[b], axis=1)
    g, x = score[same], score[~same]
    accuracy = row(judged, "accuracy")
    assert accuracy.value == pytest.approx(ten_folds(score, same, fold).mean)
    assert accuracy.low < accuracy.value < accuracy.high < 1
    assert 30 < accuracy.effective <= accuracy.pairs == 900
    assert accuracy.subjects == len(accuracy.influence) == 60
    tar = row(judged, "tar", 0.1)
    assert tar.value == pytest.approx(metrics.tar_at_far(g, x, 0.1).tar)
    assert (tar.attained, tar.status) == (0.1, "measured")
    assert row(judged, "eer").value == pytest.approx(metrics.eer(g, x).value)
    assert row(judged, "auc").value == pytest.approx(metrics.auc(g, x))
    small = row(judged, "tar", 1e-2)  # 450 impostor pairs: 4.5 expected errors
    assert (small.status, small.value, small.low, small.influence) == ("not measurable", None, None, None)
    assert "3,000" in small.note
    assert judged.threshold == tar.threshold
    assert judged.threshold_far == 0.1
    assert len([r for r in judged.rows if r.metric == "tar"]) == 9


def test_scaling_an_embedding_changes_nothing(pair_list):
    e, labels, a, b, same, fold = pair_list
    scale = np.random.default_rng(0).uniform(1e-20, 1e20, len(e))[:, None]
    one, two = judge_pairs(e, a, b, same, fold, labels), judge_pairs(e * scale, a, b, same, fold, labels)
    assert row(one, "auc").value == pytest.approx(row(two, "auc").value, abs=1e-4)


def test_names_and_numbers_are_the_same_identities(pair_list):
    e, labels, a, b, same, fold = pair_list
    names = np.array([f"person {label:03d}" for label in labels])
    one, two = judge_pairs(e, a, b, same, fold, labels), judge_pairs(e, a, b, same, fold, names)
    assert all((r.influence == s.influence).all() for r, s in zip(one.rows[:2], two.rows[:2], strict=True))


def test_unknown_subjects_are_said_so(pair_list):
    e, labels, a, b, same, fold = pair_list
    known, unknown = judge_pairs(e, a, b, same, fold, labels), judge_pairs(e, a, b, same, fold)
    assert row(known, "accuracy").value == row(unknown, "accuracy").value
    assert "unknown" in row(unknown, "accuracy").note
    assert not row(known, "accuracy").note
    assert row(unknown, "accuracy").effective > row(known, "accuracy").effective
    # Every pair its own: the ordinary binomial variance.
    share = row(unknown, "accuracy").value
    assert row(unknown, "accuracy").effective == pytest.approx(900, rel=0.01)
    assert np.sum(row(unknown, "accuracy").influence ** 2) == pytest.approx(share * (1 - share) / 900, rel=0.02)


def test_the_det_curve_is_the_same_in_parts(pair_list, monkeypatch):
    """With as many subjects as pairs, counts of all thresholds at once would not fit into memory."""
    e, labels, *pairs = pair_list
    whole = judge_pairs(e, *pairs, labels).det
    subjects = len(np.unique(labels))
    monkeypatch.setattr(verification, "COUNTED", 5 * subjects)
    parts = judge_pairs(e, *pairs, labels).det
    assert whole.far.size % 5 > 0
    assert whole.far.size > 8
    for one, other in zip(whole, parts, strict=True):
        assert (one == other).all()


def test_without_folds_there_is_no_accuracy(pair_list):
    e, labels, a, b, same, _ = pair_list
    judged = judge_pairs(e, a, b, same, None, labels)
    assert row(judged, "accuracy").status == "not measurable"
    assert row(judged, "auc").status == "measured"


def test_too_few_pairs(pair_list):
    e, labels, a, b, same, fold = pair_list
    for keep in (np.flatnonzero(same)[:100], np.flatnonzero(~same)[:100], np.arange(30)):
        judged = judge_pairs(e, a[keep], b[keep], same[keep], fold[keep], labels)
        assert {r.status for r in judged.rows} == {"not measurable"}
        assert {r.value for r in judged.rows} == {None}
        assert judged.det is None


def test_matrix(make_set):
    e, labels = make_set(identities=60, images=(2, 6))
    judged = judge_matrix(e, labels)
    impostors = row(judged, "auc").pairs - row(judged, "tar", 0.1).pairs
    for r in judged.rows:
        if r.metric == "tar":
            assert (r.status == "measured") == (r.at * impostors >= 30)
            if r.value is not None:
                assert r.attained <= r.at
                assert r.low <= r.value <= r.high
    assert row(judged, "tar", 1e-3).status == "not measurable"
    assert judged.det is not None


def test_matrix_of_faces_without_mates(make_set):
    e, _ = make_set()
    judged = judge_matrix(e, np.arange(len(e)))
    assert {r.status for r in judged.rows} == {"not measurable"}


def test_a_collapsed_network_earns_nothing(make_set):
    """Every face at one point: chance, not a plausible number."""
    _, labels = make_set(identities=60, images=(2, 6))
    e = np.full((len(labels), 8), 0.25, dtype=np.float32)
    assert row(judge_rank(e, labels), "rank", 1.0).value == 0.0
    judged = judge_matrix(e, labels)
    assert row(judged, "auc").value == pytest.approx(0.5)
    assert row(judged, "eer").value == pytest.approx(0.5)
    assert row(judged, "tar", 0.1).value == 0.0


def test_rank(make_set):
    e, labels = make_set(identities=60, images=(1, 6), noise=0.9)
    judged = judge_rank(e, labels)
    unit = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
    ranks = metrics.leave_one_out_ranks(unit, labels)
    values = [row(judged, "rank", float(k)).value for k in (1, 5, 10)]
    assert values == pytest.approx(metrics.cmc(ranks, (1, 5, 10)))
    assert 0 < values[0] < values[1] < values[2] <= 1
    assert row(judged, "rank", 1.0).pairs == np.count_nonzero(ranks) < len(labels)
    assert row(judge_rank(e[:20], labels[:20]), "rank", 1.0).status == "not measurable"


def test_rank_interval_is_by_subjects(make_set):
    """Ten copies of every image's identity code do not make a face ten times as sure."""
    e, labels = make_set(identities=40, images=(3, 8), noise=0.9)
    once = row(judge_rank(e, labels), "rank", 1.0)
    right = metrics.leave_one_out_ranks((e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32), labels) == 1
    sums = [np.sum(right[labels == s] - right.mean()) / len(labels) for s in range(40)]
    assert once.influence == pytest.approx(sums)


# Closed set


def test_closed_set(make_set):
    e, labels = make_set(identities=30, images=(6, 12), noise=0.9)
    training, test = hold_out(labels, 6, 2)
    assert len(test) == 60
    assert not set(training) & set(test)
    assert (np.bincount(labels[test]) == 2).all()
    found = judge_closed_set(e[training], labels[training], e[test], labels[test]).rows[0]
    assert 0.4 < found.value < 1  # chance is 1/30
    assert found.low < found.value < found.high
    assert found.pairs == 60
    again = judge_closed_set(e[training], labels[training], e[test], labels[test]).rows[0]
    assert again.value == found.value
    names = np.char.add("n", np.char.zfill(labels.astype(str), 3))
    assert judge_closed_set(e[training], names[training], e[test], names[test]).rows[0].value == found.value


def test_labels_shuffled_in_training_teach_nothing(make_set):
    e, labels = make_set(identities=30, images=(6, 12))
    training, test = hold_out(labels, 6, 2)
    wrong = np.random.default_rng(0).permutation(labels[training])
    assert judge_closed_set(e[training], wrong, e[test], labels[test]).rows[0].value < 0.25


def test_the_classifier_is_at_its_minimum(make_set):
    """The gradient of the written formula, by central differences, vanishes at the solution and nowhere near the
    start."""
    e, labels = make_set(identities=4, images=(6, 12), dim=3, noise=1.5)
    x = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float32)
    decay = 1e-2
    found = linear.train(x, labels, 4, decay)

    def formula(weight, bias):
        z = x.astype(np.float64) @ weight.T + bias
        z -= z.max(axis=1, keepdims=True)
        picked = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(x)), labels]
        return picked.mean() + decay / 2 * np.sum(weight**2)

    def steepest(weight, bias):
        slopes = []
        for c in range(4):
            for d in range(3):
                step = np.zeros_like(weight)
                step[c, d] = 1e-4
                slopes.append((formula(weight + step, bias) - formula(weight - step, bias)) / 2e-4)
        return np.abs(slopes).max()

    weight, bias = found.weight.astype(np.float64), found.bias.astype(np.float64)
    assert formula(weight, bias) == pytest.approx(found.objective, abs=1e-5)
    assert steepest(np.zeros_like(weight), np.zeros_like(bias)) > 0.02
    assert steepest(weight, bias) < 1e-3


def test_hold_out_leaves_small_identities_out():
    labels = np.array([0] * 5 + [1] * 3 + [2] * 4)
    training, test = hold_out(labels, 4, 2)
    assert set(labels[test]) == set(labels[training]) == {0, 2}
    assert hold_out(np.arange(5))[1].size == 0


# Refusals


def broken(e, what):
    e = e.copy()
    if what == "nan":
        e[3, 2] = np.nan
    elif what == "inf":
        e[3, 2] = np.inf
    elif what == "zero":
        e[3] = 0
    elif what == "flat":
        e = e.ravel()
    elif what == "empty":
        e = e[:0]
    return e


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("nan", "1 of"),
        ("inf", "NaN or infinity"),
        ("zero", "zero vector"),
        ("flat", "one row|a row"),
        ("empty", "shape"),
    ],
)
def test_embeddings_without_a_direction_are_refused(make_set, what, sentence):
    e, labels = make_set()
    for judge in (judge_matrix, judge_rank):
        with pytest.raises(BadInput, match=sentence):
            judge(broken(e, what), labels)


def test_one_identity_is_refused(make_set):
    e, labels = make_set()
    for judge in (judge_matrix, judge_rank):
        with pytest.raises(BadInput, match="one identity"):
            judge(e, np.zeros_like(labels))
        with pytest.raises(BadInput, match="identities have shape"):
            judge(e, labels[:-1])


def test_bad_pairs_are_refused(pair_list):
    e, labels, a, b, same, fold = pair_list
    cases = [
        ((e, a[:-1], b, same, fold, labels), "equally long"),
        ((e, a + len(e), b, same, fold, labels), "images are 0 to"),
        ((e, a - 10**6, b, same, fold, labels), "negative"),
        ((e, a, a, same, fold, labels), "with itself"),
        ((e, a, b, same * 2, fold, labels), "0 or 1"),
        ((e, a, b, ~same, fold, labels), "900 pairs are marked"),
        ((e, a, b, same, fold[:-1], labels), "one per pair"),
        ((e, a * 1.0, b, same, fold, labels), "row numbers"),
    ]
    for arguments, sentence in cases:
        with pytest.raises(BadInput, match=sentence):
            judge_pairs(*arguments)


def test_a_stranger_in_a_closed_set_is_refused(make_set):
    e, labels = make_set()
    with pytest.raises(BadInput, match="no training image"):
        judge_closed_set(e[labels > 0], labels[labels > 0], e, labels)
    with pytest.raises(BadInput, match="one network"):
        judge_closed_set(e, labels, e[:, :-1], labels)
    with pytest.raises(BadInput, match="different kinds"):
        judge_closed_set(e, labels, e, labels.astype(str))


# Files


def test_a_file(tmp_path, pair_list):
    e, labels, a, b, same, fold = pair_list
    names = np.array([f"p{label}" for label in labels])
    columns = np.stack([a, b, same, fold], axis=1)
    for width, protocols in ((0, 2), (2, 3), (3, 3), (4, 3)):
        extra = {"pairs": columns[:, :width]} if width else {}
        np.savez(tmp_path / "e.npz", embeddings=e.astype(np.float16), identities=names, **extra)
        rows = evaluate_file(tmp_path / "e.npz")
        assert len({r.protocol for r in rows}) == protocols
        assert ("ten folds", "accuracy", "measured") in {(r.protocol, r.metric, r.status) for r in rows} or width < 4
    for r in rows:  # what a record needs is plain
        assert r._replace(influence=None) == Measured(*json.loads(json.dumps(r._replace(influence=None))))
    whole = judge_pairs(e.astype(np.float16), a, b, same, fold, labels)
    assert rows[0].value == row(whole, "accuracy").value


def test_bad_files_are_refused(tmp_path, make_set):
    e, labels = make_set()
    path = tmp_path / "e.npz"
    with pytest.raises(BadInput, match="no file"):
        evaluate_file(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(BadInput, match="cannot be read"):
        evaluate_file(path)
    np.save(tmp_path / "e.npy", e)
    with pytest.raises(BadInput, match="no array named identities"):
        evaluate_file(tmp_path / "e.npy")
    np.savez(path, embeddings=e)
    with pytest.raises(BadInput, match="no array named identities"):
        evaluate_file(path)
    np.savez(path, embeddings=e, identities=labels.astype(object))
    with pytest.raises(BadInput, match="plain arrays"):
        evaluate_file(path)
    np.savez(path, embeddings=e, identities=labels, pairs=np.zeros((3, 5), dtype=int))
    with pytest.raises(BadInput, match="columns"):
        evaluate_file(path)
    np.savez(path, embeddings=e, identities=labels, pairs=np.full((3, 2), 999))
    with pytest.raises(BadInput, match="images are 0 to"):
        evaluate_file(path)
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, embeddings=e, identities=labels)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(BadInput, match="cannot be read"):
        evaluate_file(path)
    damaged = bytearray(whole.read_bytes())
    damaged[300:340] = bytes(40)
    path.write_bytes(bytes(damaged))
    with pytest.raises(BadInput, match="cannot be read"):
        evaluate_file(path)
