"""What the statistics promise, by simulation; each promise is broken when naive statistics take their place.

Faces: 100 people with 5 images; people differ in how much their images vary and in how many others they resemble.
"""

from typing import NamedTuple

import numpy as np
import pytest

from faceloss.compare import family, records
from faceloss.compare.records import Cell
from faceloss.evaluate import cells, holm, judge_matrix, judge_open_set, paired_difference, statistics, wilson
from faceloss.evaluate.statistics import Interval
from faceloss.evaluate.verification import far_threshold

PEOPLE, IMAGES, DIM = 100, 5, 16


def faces(rng, people=PEOPLE):
    labels = np.repeat(np.arange(people), IMAGES)
    centers = rng.normal(size=(people, DIM)) + rng.normal(0, 1.0, (people, 1)) * 0.35  # some have a common look
    noise = rng.uniform(0.3, 1.3, people)
    return (centers[labels] + noise[labels, None] * rng.normal(size=(len(labels), DIM))).astype(np.float32), labels


class Truth(NamedTuple):
    threshold: float
    fmr: float
    tar: float
    eer: float
    auc: float


@pytest.fixture(scope="module")
def truth():
    """From 20,000 other people: every genuine pair, four million impostor pairs."""
    e, labels = faces(np.random.default_rng(10**6), 20_000)
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    a, b = np.triu_indices(IMAGES, 1)
    blocks = e.reshape(-1, IMAGES, DIM)
    genuine = np.einsum("sid,sid->si", blocks[:, a], blocks[:, b]).ravel()
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, len(e), 4_000_000), rng.integers(0, len(e), 4_000_000)
    apart = labels[i] != labels[j]
    impostor = np.sort(np.einsum("md,md->m", e[i[apart]], e[j[apart]])).astype(np.float64)
    t = far_threshold(impostor, 1e-2)
    steps = np.linspace(0, 1, 4001)
    fmr = 1 - np.searchsorted(impostor, steps) / impostor.size
    fnmr = np.searchsorted(np.sort(genuine), steps) / genuine.size
    area = np.mean(np.searchsorted(impostor, genuine) / impostor.size)
    k = int(np.argmin(np.abs(fmr - fnmr)))
    return Truth(t, 1e-2, float(np.mean(genuine >= t)), float((fmr[k] + fnmr[k]) / 2), float(area))


def coverage(truth, trials, naive=False):
    """How often the interval of each number holds the true value."""
    held = dict.fromkeys(("fmr", "tar", "eer", "auc"), 0)
    for seed in range(trials):
        e, labels = faces(np.random.default_rng(seed))
        e = e / np.linalg.norm(e, axis=1, keepdims=True)
        i, j = np.triu_indices(len(e), 1)
        apart = labels[i] != labels[j]
        wrong = (np.einsum("md,md->m", e[i[apart]], e[j[apart]]) >= truth.threshold).astype(float)
        if naive:
            low, high = wilson(wrong.mean(), wrong.size)
        else:
            low, high, _ = statistics.subject_interval(wrong, labels[i[apart]], labels[j[apart]])
        held["fmr"] += low <= truth.fmr <= high
        for row in judge_matrix(e, labels).rows:
            if row.metric in ("eer", "auc") or (row.metric, row.at) == ("tar", 1e-2):
                held[row.metric] += row.low <= getattr(truth, row.metric) <= row.high
    return {name: count / trials for name, count in held.items()}


TRIALS = 120


def test_intervals_cover_what_they_say(truth):
    """Nominal 95 %: at least 90 %, for a rate at a fixed threshold and for numbers whose threshold is estimated."""
    found = coverage(truth, TRIALS)
    assert min(found.values()) >= 0.90, found


def test_intervals_of_pairs_do_not(truth, monkeypatch):
    """The same study with every pair taken for independent: about 55 %, so that the test above would fail."""

    def of_pairs(share, variance, pairs, subjects):
        return Interval(*wilson(share, pairs), float(pairs))

    monkeypatch.setattr(cells, "subject_wilson", of_pairs)
    found = coverage(truth, 60, naive=True)
    assert 0.3 < found["fmr"] < 0.7, found
    assert max(found.values()) < 0.88, found


# Thirty equal losses

SUBJECTS, PAIRS, LOSSES, SEEDS = 80, 25, 30, 3
CELL = Cell("list", "ten folds", "accuracy", None)


def equal_losses(rng):
    """Softmax and 30 losses that are as good as it is: what differs are luck, and whom each of them finds hard."""
    hard = rng.normal(2.0, 0.6, SUBJECTS)
    results, vectors, states = {}, {}, {}
    labels = ["softmax", *(f"loss {k}" for k in range(LOSSES))]
    for label in labels:
        taste = rng.normal(0, 0.2, SUBJECTS)
        for seed in range(SEEDS):
            luck = rng.normal(0, 0.12) + rng.normal(0, 0.3, SUBJECTS)
            right = (hard + taste + luck)[:, None] + rng.normal(size=(SUBJECTS, PAIRS)) > 0
            value = float(right.mean())
            results[label, seed] = {CELL: {"value": value}}
            vectors[label, seed] = {CELL.name: (right - value).sum(axis=1) / right.size}
            states[label, seed] = "finished"
    return labels, {label: label for label in labels}, results, vectors, states


def winners(studies):
    """In how many studies of equal losses some loss is called better or worse than softmax."""
    count = 0
    for study in range(studies):
        rows = records._differences(*equal_losses(np.random.default_rng(study)))
        assert len(rows) == LOSSES
        assert {row["seeds"] for row in rows} == {SEEDS}
        count += any(row["verdict"] in ("better", "worse") for row in rows)
    return count / studies


def test_thirty_equal_losses_have_no_winner():
    assert winners(60) <= 0.10


def test_without_holm_there_would_be_one(monkeypatch):
    monkeypatch.setattr(family, "holm", list)
    assert winners(20) > 0.4


def test_with_independent_pairs_there_would_be_one(monkeypatch):
    """Intervals as if the 2,000 pairs were independent and losses were not paired by subject."""

    def naive(values_a, values_b, influences_a, influences_b):
        a, b = np.mean(values_a), np.mean(values_b)
        error = np.sqrt((a * (1 - a) + b * (1 - b)) / (SUBJECTS * PAIRS * SEEDS))
        found = paired_difference(values_a, values_b, influences_a, influences_b)
        p = float(2 * statistics.stdtr(1e9, -abs(found.value) / error))
        return found._replace(low=found.value - 1.96 * error, high=found.value + 1.96 * error, p=p)

    monkeypatch.setattr(records, "paired_difference", naive)
    assert winners(20) > 0.4


def test_a_worse_loss_among_equals_is_announced():
    """The study does not stay silent about everything."""
    found = 0
    for study in range(10):
        labels, losses, results, vectors, states = equal_losses(np.random.default_rng(study))
        for seed in range(SEEDS):
            results["loss 7", seed][CELL]["value"] -= 0.2
        rows = {row["label"]: row for row in records._differences(labels, losses, results, vectors, states)}
        assert rows["loss 7"]["value"] < -0.1
        found += rows["loss 7"]["verdict"] == "worse"
    assert found >= 8


# Power


def test_a_detectable_difference_is_detected_four_times_in_five():
    """True differences of the size that a first study calls detectable, in new studies with new people and seeds."""
    rng = np.random.default_rng(0)

    def study(shift):
        hard = rng.normal(1.0, 0.6, SUBJECTS)
        values, vectors = [], []
        for lift in (shift, 0.0):
            taste, own_v, own_p = rng.normal(0, 0.5, SUBJECTS), [], []
            for _ in range(5):
                right = (hard + taste)[:, None] + rng.normal(size=(SUBJECTS, PAIRS)) > -lift
                own_v.append(right.mean())
                own_p.append((right - right.mean()).sum(axis=1) / right.size)
            values.append(own_v)
            vectors.append(own_p)
        return paired_difference(*values, *vectors)

    from faceloss.evaluate.power import detectable

    said = np.median([detectable(study(0.0)) for _ in range(60)])
    lifts = np.linspace(0.1, 0.8, 8)
    sizes = [np.mean([study(lift).value for _ in range(60)]) for lift in lifts]
    lift = float(np.interp(said, sizes, lifts))
    assert 0.15 < lift < 0.75
    share = np.mean([(found := study(lift)).p < 0.05 and found.value > 0 for _ in range(300)])
    assert 0.7 < share < 0.9
    assert detectable(study(0.0), comparisons=30) > 1.3 * said
    assert holm([0.01]) == [0.01]


# Open set


def test_open_set_intervals_are_those_of_resampled_people():
    """Influences against drawing the probes' subjects with replacement; the gallery is fixed. Of 40
    strangers some resemble someone who is enrolled, so that the threshold is the less sure part."""
    e, labels = faces(np.random.default_rng(5), 420)
    labels = np.where(labels < 300, labels, 300 + (labels - 300) // 3)  # 40 strangers with 15 images
    rng = np.random.default_rng(6)
    likeness = rng.uniform(0, 2, 40)[:, None] * e[::IMAGES][rng.integers(0, 300, 40)]  # of someone enrolled
    e[labels >= 300] += likeness[labels[labels >= 300] - 300]
    roles = np.where((np.arange(len(labels)) % IMAGES == 0) & (labels < 300), "gallery", "probe")
    found = judge_open_set(e, labels, roles, fpirs=(0.3,), sizes=[300])
    row = next(r for r in found.judged.rows if r.metric == "tpir")
    u = (e / np.linalg.norm(e, axis=1, keepdims=True)).astype(np.float64)
    score = u[roles == "probe"] @ u[roles == "gallery"].T
    people, enrolled = labels[roles == "probe"], labels[roles == "gallery"]
    own = people[:, None] == enrolled
    mate, other = np.where(own, score, -2).max(axis=1), np.where(own, -2, score).max(axis=1)
    mated = people < 300
    order = np.argsort(-other[~mated])
    rng, values = np.random.default_rng(0), []
    for _ in range(400):
        w = rng.multinomial(340, np.full(340, 1 / 340))
        out = w[people[~mated]][order]
        t = other[~mated][order][min(np.searchsorted(np.cumsum(out) / out.sum(), 0.3, "right"), out.size - 1)]
        hit = (mate > t) & (mate > other)
        values.append(np.sum(w[people] * hit * mated) / np.sum(w[people] * mated))
    assert 0.2 < row.value < 0.95
    error = np.sqrt(statistics.vector_variance(row.influence))
    assert error == pytest.approx(np.std(values), rel=0.25)
    hits = ((mate >= row.threshold) & (mate > other))[mated].reshape(300, 4).mean(axis=1)
    assert error > 1.8 * np.std(hits) / np.sqrt(300)  # with the threshold fixed it would be this


def test_a_larger_gallery_is_foretold_by_a_smaller_one():
    """Of 2,400 people 100 are enrolled, and 1,000 computed from them; then 1,000 are enrolled."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2400), 2)
    e = rng.normal(size=(2400, 24))[labels] + 0.55 * rng.normal(size=(4800, 24))
    few, whole = judge_open_set(e, labels, sizes=[100], extrapolate=True), judge_open_set(e, labels, sizes=[1000])
    hundred, computed = few.curves
    (measured,) = whole.curves
    assert (hundred.extrapolated_from, computed.extrapolated_from, computed.gallery) == (None, 100, 1000)
    at = [0.15, 0.2, 0.3, 0.5]
    told, true, before = (np.interp(at, c.fpir, c.fnir) for c in (computed, measured, hundred))
    assert np.abs(told - true).max() < 0.02
    assert np.abs(before - true).min() > 0.05  # where a gallery of 100 stays far away
    alarms = np.interp(0.3, measured.fpir, measured.threshold), np.interp(0.3, computed.fpir, computed.threshold)
    assert alarms[0] == pytest.approx(alarms[1], abs=0.02)
    assert np.interp(0.3, hundred.fpir, hundred.threshold) < alarms[0] - 0.05
    assert judge_open_set(e, labels, sizes=[100]).curves[0].extrapolated_from is None
    assert len(judge_open_set(e, labels, sizes=[100]).curves) == 1
    assert {row.gallery for row in few.judged.rows if row.metric == "tpir"} == {100}
    # 30 expected alarms of 60 probes: a hundred times the gallery would begin at an FPIR of nearly one.
    tiny = judge_open_set(e[:120], labels[:120], extrapolate=True)
    assert {curve.extrapolated_from for curve in tiny.curves} == {None}
