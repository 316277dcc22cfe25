"""Every metric against a naive loop, against hand-worked values, and under what must not change it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloss.errors import BadInput
from faceloss.evaluate import metrics
from faceloss.evaluate.metrics import NotMeasurable

# Scores on a coarse grid, so that ties within and between the kinds are the rule.
tied = st.lists(st.integers(0, 12), min_size=1, max_size=40).map(lambda values: np.array(values) / 12)


def tied_scores(seed=0, genuine=80, impostor=400):
    rng = np.random.default_rng(seed)
    g = np.round(rng.normal(0.5, 0.25, genuine), 2)
    x = np.round(rng.normal(0.1, 0.2, impostor), 2)
    assert len(np.unique(x)) < len(x)
    assert np.intersect1d(g, x).size > 3  # ties across the kinds
    return g, x


def naive_far(x, t):
    return sum(1 for value in x if value >= t) / len(x)


def naive_tar_at_far(g, x, far):
    """Try every threshold that could matter; keep those within the FAR; the best TAR among them."""
    options = [*x, *g, max(*x, *g) + 1]
    options += [np.nextafter(t, np.inf) for t in options]
    allowed = [t for t in options if naive_far(x, t) <= far + 1e-12]
    t = min(allowed)
    return sum(1 for value in g if value >= t) / len(g), naive_far(x, t)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("far", [0.075, 0.1, 0.3, 1.0])
def test_tar_at_far_is_the_naive_search(seed, far):
    g, x = tied_scores(seed)
    found = metrics.tar_at_far(g, x, far)
    tar, attained = naive_tar_at_far(g, x, far)
    assert found.tar == pytest.approx(tar, abs=1e-12)
    assert found.attained == pytest.approx(attained, abs=1e-12)
    assert found.attained <= far
    assert found.tar > 0
    assert np.mean(x >= found.threshold) == found.attained


def test_tar_never_takes_the_nearest_point():
    """32 impostors tie at 0.5 of 100: FAR 0.3 may accept none of them, though 0.32 is nearer to 0.3 than 0 is."""
    x = np.r_[np.full(32, 0.5), np.linspace(0, 0.4, 68)]
    g = np.array([0.45, 0.5, 0.6, 0.7])
    found = metrics.tar_at_far(g, x, 0.3)
    assert found.attained == 0.0
    assert found.tar == 0.5  # only 0.6 and 0.7 lie above the tie


def test_tar_by_hand():
    x = np.arange(300) / 300
    g = np.array([0.5, 0.9, 0.95, 0.97])
    found = metrics.tar_at_far(g, x, 0.1)  # 30 accepted: scores 270/300 = 0.9 and up stay in, so 0.9 is accepted
    assert (found.tar, found.attained) == (0.75, 0.1)
    assert 269 / 300 < found.threshold <= 0.9


def test_decimal_fractions_do_not_lose_a_pair():
    x = np.arange(3000) / 3000
    for far, errors in ((0.01, 30), (0.1, 300), (0.3, 900)):
        assert metrics.tar_at_far(x, x, far).attained * 3000 == pytest.approx(errors)


@pytest.mark.parametrize(("far", "needed"), [(1e-1, 300), (1e-3, 30_000), (1e-6, 30_000_000), (1e-9, 30_000_000_000)])
def test_thirty_expected_errors(far, needed):
    assert metrics.measurable(far, needed)
    assert not metrics.measurable(far, needed - 1)


def test_below_thirty_errors_is_refused():
    g, x = tied_scores()
    with pytest.raises(NotMeasurable, match="30,000 impostor pairs"):
        metrics.tar_at_far(g, x, 1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_double_loop(seed):
    g, x = tied_scores(seed)
    naive = np.mean([[1.0 if a > b else 0.5 if a == b else 0.0 for b in x] for a in g])
    assert 0.5 < naive < 1
    assert metrics.auc(g, x) == pytest.approx(naive, abs=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_eer_lies_between_the_naive_bounds(seed):
    """FMR and FNMR at every threshold: the crossing lies between the rates of the two neighboring points."""
    g, x = tied_scores(seed)
    points = [(naive_far(x, t), sum(1 for v in g if v < t) / len(g)) for t in sorted({*g, *x, 9.0})]
    after = next(i for i, (fmr, fnmr) in enumerate(points) if fnmr >= fmr)
    (m0, n0), (m1, n1) = points[after - 1], points[after]
    found = metrics.eer(g, x)
    assert min(m0, n0) - 1e-12 <= found.value <= max(m1, n1) + 1e-12
    crossing = m0 + (m1 - m0) * (m0 - n0) / ((m0 - n0) + (n1 - m1))
    assert found.value == pytest.approx(crossing, abs=1e-12)
    assert found.value > 0


def test_eer_by_hand():
    assert metrics.eer([0.9, 0.8, 0.7, 0.2], [0.1, 0.3, 0.4, 0.75]).value == pytest.approx(0.25)
    assert metrics.eer([3.0, 2.0], [0.0, 1.0]).value == 0.0
    assert metrics.eer([0.0, 1.0], [2.0, 3.0]).value == 1.0
    assert metrics.eer([1.0, 1.0], [1.0, 1.0]).value == pytest.approx(0.5)


def test_roc_by_hand():
    found = metrics.roc([0.5, 0.9], [0.1, 0.5, 0.5, 0.2])
    assert found.threshold.tolist() == [np.inf, 0.9, 0.5, 0.2, 0.1]
    assert found.tar.tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert found.far.tolist() == [0.0, 0.0, 0.5, 0.75, 1.0]


@settings(max_examples=60, deadline=None)
@given(tied, tied, st.randoms(use_true_random=False))
def test_properties(g, x, random):
    curve = metrics.roc(g, x)
    assert (np.diff(curve.far) >= 0).all()
    assert (np.diff(curve.tar) >= 0).all()
    assert (curve.far[-1], curve.tar[-1]) == (1.0, 1.0)
    area, rate = metrics.auc(g, x), metrics.eer(g, x).value
    assert 0 <= area <= 1
    assert 0 <= rate <= 1
    # The trapezoid under the ROC is the rank statistic; swapping the kinds and the sign mirrors both.
    assert area == pytest.approx(np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1]) / 2), abs=1e-12)
    assert metrics.auc(x, g) == pytest.approx(1 - area, abs=1e-12)
    assert metrics.auc(-x, -g) == pytest.approx(area, abs=1e-12)
    # Order and a rising map of the scores change nothing.
    shuffled = g.copy()
    random.shuffle(shuffled)
    assert metrics.auc(shuffled, x) == area
    assert metrics.auc(np.exp(2 * g) - 7, np.exp(2 * x) - 7) == pytest.approx(area, abs=1e-12)
    assert metrics.eer(np.exp(2 * g) - 7, np.exp(2 * x) - 7).value == pytest.approx(rate, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(tied, st.integers(0, 10_000))
def test_tar_rises_with_far_and_never_exceeds_it(g, seed):
    x = np.random.default_rng(seed).integers(0, 13, 300) / 12
    found = [metrics.tar_at_far(g, x, far) for far in (0.1, 0.2, 0.35, 0.7, 1.0)]
    assert all(a.tar <= b.tar and a.attained <= b.attained for a, b in itertools.pairwise(found))
    assert all(point.attained <= point.far for point in found)
    assert found[-1].attained == 1.0


# Accuracy by folds


def fold_data(seed=0, folds=7, sizes=(20, 35)):
    rng = np.random.default_rng(seed)
    fold = np.repeat(np.arange(folds), rng.integers(*sizes, folds))
    same = rng.random(fold.size) < 0.5
    score = np.round(rng.normal(np.where(same, 0.4, 0.1), 0.2), 2)
    order = rng.permutation(fold.size)
    return score[order], same[order], fold[order]


@pytest.mark.parametrize("seed", range(4))
def test_folds_are_the_naive_loop(seed):
    score, same, fold = fold_data(seed)
    found = metrics.ten_folds(score, same, fold)
    naive = []
    for k in range(7):
        others = fold != k
        options = sorted(set(score[others]))
        options = [options[0], *[(a + b) / 2 for a, b in itertools.pairwise(options)], options[-1] + 1]
        right = [sum((s >= t) == y for s, y in zip(score[others], same[others], strict=True)) for t in options]
        best = [t for t, r in zip(options, right, strict=True) if r == max(right)]
        t = best[(len(best) - 1) // 2]
        naive.append(np.mean((score[~others] >= t) == same[~others]))
    assert 0.6 < np.mean(naive) < 1
    assert found.folds == pytest.approx(naive, abs=1e-12)
    assert found.mean == pytest.approx(np.mean(naive))
    assert found.error == pytest.approx(np.std(naive, ddof=1) / np.sqrt(7))


def test_a_fold_is_judged_at_the_threshold_of_the_others():
    """Two folds, each perfect at a threshold that is worthless on the other: honest accuracy is 1/2, a cheat gets 1."""
    score = np.r_[np.repeat([0.1, 0.2], 10), np.repeat([0.8, 0.9], 10)]
    same = np.r_[np.repeat([False, True], 10), np.repeat([False, True], 10)]
    fold = np.repeat([0, 1], 20)
    found = metrics.ten_folds(score, same, fold)
    assert found.folds.tolist() == [0.5, 0.5]
    assert found.thresholds[0] == pytest.approx(0.85)
    assert found.thresholds[1] == pytest.approx(0.15)


def test_pure_noise_earns_nothing():
    """The best threshold on the judged pairs would show more than 1/2 on noise; folds show 1/2."""
    honest, cheat = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        score, same, fold = rng.normal(size=600), np.arange(600) % 2 == 0, np.arange(600) // 60
        honest.append(metrics.ten_folds(score, same, fold).mean)
        cheat.append(np.mean((score >= metrics.best_threshold(score, same)) == same))
    assert np.mean(cheat) > 0.515
    assert abs(np.mean(honest) - 0.5) < 0.01


def test_accuracy_survives_affine_maps_and_order():
    score, same, fold = fold_data(3)
    order = np.random.default_rng(1).permutation(score.size)
    found = metrics.ten_folds(score, same, fold)
    assert metrics.ten_folds(score[order], same[order], fold[order]).folds.tolist() == found.folds.tolist()
    assert metrics.ten_folds(4 * score - 2, same, fold).folds == pytest.approx(found.folds, abs=1e-12)


def test_one_fold_is_refused():
    with pytest.raises(NotMeasurable, match="two folds"):
        metrics.ten_folds([0.1, 0.2], [True, False], [0, 0])


# Ranks


def naive_ranks(similarity, probes, gallery):
    ranks = []
    for row, probe in zip(similarity, probes, strict=True):
        mates = [s for s, g in zip(row, gallery, strict=True) if g == probe]
        ahead = sum(1 for s, g in zip(row, gallery, strict=True) if g != probe and mates and s >= max(mates))
        ranks.append(1 + ahead if mates else 0)
    return ranks


def test_mate_ranks_are_the_naive_loop():
    rng = np.random.default_rng(0)
    similarity = np.round(rng.normal(size=(50, 40)), 1)
    probes, gallery = rng.integers(0, 12, 50), rng.integers(0, 10, 40)
    naive = naive_ranks(similarity, probes, gallery)
    assert 0 in naive
    assert len(set(naive)) > 5
    ranks = metrics.mate_ranks(similarity, probes, gallery)
    assert ranks.tolist() == naive
    kept = [rank for rank in naive if rank]
    assert metrics.cmc(ranks, (1, 3, 40)) == pytest.approx([np.mean([r <= k for r in kept]) for k in (1, 3, 40)])
    assert metrics.cmc(ranks, (40,))[0] == 1.0


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_leave_one_out_is_the_full_matrix(make_set, rows):
    embeddings, labels = make_set()
    e = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    naive = []
    for i in range(len(e)):
        others = np.arange(len(e)) != i
        naive += naive_ranks([(e @ e[i])[others]], [labels[i]], labels[others])
    assert 0 in naive
    assert len(set(naive)) > 5
    assert metrics.leave_one_out_ranks(e, labels, rows=rows).tolist() == naive


def test_a_tie_counts_against_the_mate():
    assert metrics.mate_ranks(np.ones((1, 3)), [5], [5, 6, 7]).tolist() == [3]


def test_cmc_needs_a_mate():
    with pytest.raises(NotMeasurable, match="mate"):
        metrics.cmc([0, 0], (1,))


@pytest.mark.parametrize(
    ("g", "x", "sentence"),
    [
        ([0.1, np.nan], [0.2], "NaN"),
        ([[0.1]], [0.2], "flat"),
        ([], [0.2], "no genuine"),
        ([0.2], [], "no impostor"),
    ],
)
def test_bad_scores_are_refused(g, x, sentence):
    for metric in (metrics.roc, metrics.auc, metrics.eer):
        with pytest.raises(BadInput, match=sentence):
            metric(g, x)
