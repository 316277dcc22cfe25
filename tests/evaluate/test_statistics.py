"""How sure: against loops over pairs of pairs, against the subject bootstrap, and by simulation."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from faceloss.errors import BadInput
from faceloss.evaluate import bootstrap, statistics
from faceloss.evaluate.statistics import holm, paired_difference, subject_wilson, summary, verdict, wilson
from faceloss.evaluate.verification import verify_pairs


def random_pairs(seed, subjects=14, pairs=90):
    """A sparse, uneven list: genuine pairs, several pairs between the same two subjects, effects of the subjects."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, subjects, pairs), rng.integers(0, subjects, pairs)
    effect = rng.normal(0, 0.3, subjects)
    values = ((effect[a] + effect[b] + rng.normal(0, 0.5, pairs)) > 0.2).astype(float)
    assert (a == b).any()
    assert 0 < values.mean() < 1
    return values, a, b


def naive_variance(x, a, b):
    """Sum over all pairs of pairs that share a subject."""
    r = x - x.mean()
    total = sum(r[p] * r[q] for p in range(len(x)) for q in range(len(x)) if {a[p], b[p]} & {a[q], b[q]})
    subjects = len({*a, *b})
    return total / len(x) ** 2 * subjects / (subjects - 1)


@pytest.mark.parametrize("seed", range(4))
def test_dyadic_variance_is_the_double_loop(seed):
    x, a, b = random_pairs(seed)
    assert statistics.dyadic_variance(x, a, b) == pytest.approx(naive_variance(x, a, b), rel=1e-9)
    order = np.random.default_rng(seed).permutation(len(x))
    assert statistics.dyadic_variance(x[order], b[order], a[order]) == pytest.approx(
        statistics.dyadic_variance(x, a, b), rel=1e-9
    )


def test_disjoint_pairs_are_independent():
    """Each impostor pair has two subjects of its own: the ordinary binomial variance, not twice it."""
    x = np.r_[np.ones(30), np.zeros(170)]
    a, b = np.arange(200) * 2, np.arange(200) * 2 + 1
    plain = x.var() / 200
    assert statistics.dyadic_variance(x, a, b) == pytest.approx(plain * 400 / 399)
    psi = statistics.pair_influence((x - x.mean()) / 200, a, b, 400)
    assert psi @ psi == pytest.approx(plain)


def test_influence_squares_are_the_dyadic_variance():
    """Impostor pairs only, so that the shrinking is exact."""
    rng = np.random.default_rng(1)
    a = rng.integers(0, 30, 400)
    b = (a + rng.integers(1, 30, 400)) % 30
    effect = rng.normal(0, 1, 30)
    x = (effect[a] + effect[b] + rng.normal(size=400) > 1).astype(float)
    psi = statistics.pair_influence((x - x.mean()) / 400, a, b, 30)
    assert statistics.vector_variance(psi) == pytest.approx(statistics.dyadic_variance(x, a, b))
    assert statistics.vector_variance(psi) > 2 * x.var() / 400  # subjects matter here


# Wilson


def test_wilson_by_hand():
    low, high = wilson(0.1, 100)
    assert (low, high) == (pytest.approx(0.05523, abs=1e-5), pytest.approx(0.17437, abs=1e-5))
    ours, theirs = wilson(7 / 50, 50), stats.binomtest(7, 50).proportion_ci(method="wilson")
    assert ours == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_wilson_at_the_ends():
    assert wilson(0.0, 100)[0] == 0.0
    assert 0.03 < wilson(0.0, 100)[1] < 0.04
    assert wilson(1.0, 100)[1] == 1.0
    assert subject_wilson(0.3, 0.01, 100, 1)[:2] == (0.0, 1.0)
    assert subject_wilson(1.0, 0.0, 6000, 50).effective == 50  # no error seen: as many trials as subjects
    assert subject_wilson(0.5, 0.0, 200, 50).effective == 200  # never more than the pairs
    assert subject_wilson(0.5, -0.1, 200, 50).effective == 200
    assert subject_wilson(0.5, 0.01, 200, 50).effective == pytest.approx(25)
    few, many = subject_wilson(0.5, 0.01, 200, 4), subject_wilson(0.5, 0.01, 200, 4000)
    assert few.low < many.low < 0.5 < many.high < few.high


def test_coverage_of_subjects_and_of_pairs():
    """Subjects differ in how often they are falsely matched. 95 % by subjects holds what it says, 95 % by pairs does
    not."""
    subjects, cut, width = 40, 1.2, 0.6
    a, b = np.triu_indices(subjects, 1)
    truth = 1 - ndtr(cut / np.sqrt(1 + 2 * width**2))
    by_subjects = by_pairs = 0
    trials = 300
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        effect = rng.normal(0, width, subjects)
        errors = (effect[a] + effect[b] + rng.normal(size=a.size) > cut).astype(float)
        low, high, effective = statistics.subject_interval(errors, a, b)
        assert effective < a.size
        by_subjects += low <= truth <= high
        low, high = wilson(errors.mean(), a.size)
        by_pairs += low <= truth <= high
    assert by_subjects / trials >= 0.88
    assert by_pairs / trials < 0.8


# Influences against the bootstrap


@pytest.fixture(scope="module")
def crossed():
    """60 subjects with 3 images each, fully crossed; faces that attract and faces that vary."""
    rng = np.random.default_rng(3)
    centers, labels = rng.normal(size=(60, 10)) + 0.4, np.repeat(np.arange(60), 3)
    e = centers[labels] + rng.uniform(0.3, 1.1, 60)[labels, None] * rng.normal(size=(180, 10))
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    a, b = np.triu_indices(180, 1)
    return (e @ e.T)[a, b], labels[a] == labels[b], labels[a], labels[b]


def test_influences_agree_with_the_subject_bootstrap(crossed):
    score, same, first, second = crossed
    found = verify_pairs(score, same, first, second, 60)
    point = {p.far: p for p in found.points}
    cases = {
        "tar at 0.1": (point[0.1], bootstrap.weighted_tar(score, same, 0.1)),
        "tar at 0.01": (point[0.01], bootstrap.weighted_tar(score, same, 0.01)),
        "eer": (found.eer, bootstrap.weighted_eer(score, same)),
        "auc": (found.auc, bootstrap.weighted_auc(score, same)),
    }
    ones = np.ones(score.size)
    for name, (ours, statistic) in cases.items():
        assert statistic(ones) == pytest.approx(ours.value, abs=1e-9), name
        drawn = bootstrap.subject_bootstrap(statistic, first, second, 60, replicates=150)
        error = np.sqrt(statistics.vector_variance(ours.influence))
        assert drawn.low < ours.value < drawn.high, name
        assert error == pytest.approx(drawn.error, rel=0.2), name


def test_the_threshold_is_part_of_the_uncertainty():
    """25 impostor subjects with large effects move the threshold; the TAR of 300 others is less sure than it looks."""
    rng = np.random.default_rng(0)
    a, b = np.triu_indices(25, 1)
    effect = rng.normal(0, 0.15, 25)
    x = effect[a] + effect[b] + rng.normal(0, 0.1, a.size)
    g = rng.normal(0.4, 0.2, 300)
    score, same = np.r_[x, g], np.r_[np.zeros(300, dtype=bool), np.ones(300, dtype=bool)]
    first, second = np.r_[a, 25 + np.arange(300)], np.r_[b, 25 + np.arange(300)]
    point = next(p for p in verify_pairs(score, same, first, second, 325).points if p.far == 0.1)
    fixed = statistics.dyadic_variance((g >= point.threshold).astype(float), first[same], second[same])
    ours = statistics.vector_variance(point.influence)
    assert 0.2 < point.value < 0.95
    assert ours > 3 * fixed
    statistic = bootstrap.weighted_tar(score, same, 0.1)
    drawn = bootstrap.subject_bootstrap(statistic, first, second, 325, replicates=300)
    assert np.sqrt(ours) == pytest.approx(drawn.error, rel=0.25)


def test_eer_weighs_both_kinds_by_their_densities():
    """Wide genuine scores, narrow impostor scores: the EER follows the genuine subjects' errors, not the average of
    both."""
    rng = np.random.default_rng(0)
    a, b = np.triu_indices(30, 1)
    effect = rng.normal(0, 0.12, 30)
    x = effect[a] + effect[b] + rng.normal(0, 0.05, a.size)
    g = rng.normal(1.0, 1.0, 400)
    score, same = np.r_[x, g], np.r_[np.zeros(a.size, dtype=bool), np.ones(400, dtype=bool)]
    first, second = np.r_[a, 30 + np.arange(400)], np.r_[b, 30 + np.arange(400)]
    rate = verify_pairs(score, same, first, second, 430).eer
    assert 0.05 < rate.value < 0.4
    drawn = bootstrap.subject_bootstrap(bootstrap.weighted_eer(score, same), first, second, 430, replicates=300)
    assert np.sqrt(statistics.vector_variance(rate.influence)) == pytest.approx(drawn.error, rel=0.2)


def test_bootstrap_of_a_mean(crossed):
    score, same, first, second = crossed
    drawn = bootstrap.subject_bootstrap(bootstrap.weighted_mean(score[~same] > 0.6), first[~same], second[~same], 60)
    error = np.sqrt(statistics.dyadic_variance((score[~same] > 0.6).astype(float), first[~same], second[~same]))
    assert error == pytest.approx(drawn.error, rel=0.2)
    again = bootstrap.subject_bootstrap(bootstrap.weighted_mean(score[~same] > 0.6), first[~same], second[~same], 60)
    assert (drawn.values == again.values).all()


# Two losses


def seeds_of_equal_losses(rng, seeds=3, subjects=60, images=10):
    """Two losses with the same expected accuracy on the same subjects; easy and hard subjects, lucky and unlucky
    seeds."""
    hard = rng.normal(1.2, 0.8, subjects)
    values, influences = [], []
    for _ in range(2):
        luck = rng.normal(0, 0.05, seeds)
        right = (hard[None, :, None] + luck[:, None, None] + rng.normal(size=(seeds, subjects, images))) > 0
        mean = right.mean(axis=(1, 2))
        values.append(mean)
        influences.append((right - mean[:, None, None]).sum(axis=2) / (subjects * images))
    return values[0], values[1], influences[0], influences[1]


def test_equal_losses_are_seldom_called_different():
    rng = np.random.default_rng(0)
    p = [paired_difference(*seeds_of_equal_losses(rng)).p for _ in range(600)]
    assert 0.005 <= np.mean(np.array(p) < 0.05) <= 0.08
    assert 0.3 < np.mean(np.array(p) < 0.5) < 0.65


def test_a_better_loss_is_found():
    rng = np.random.default_rng(1)
    a, b, psi_a, psi_b = seeds_of_equal_losses(rng, seeds=5, subjects=400)
    found = paired_difference(a + 0.05, b, psi_a, psi_b)
    assert found.low > 0
    assert verdict(found.low, found.high, found.p, found.seeds) == "better"
    mirror = paired_difference(b, a + 0.05, psi_b, psi_a)
    assert (mirror.value, mirror.low, mirror.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert verdict(mirror.low, mirror.high, mirror.p, mirror.seeds) == "worse"


def test_pairing_is_sharper_than_two_intervals():
    rng = np.random.default_rng(2)
    a, b, psi_a, psi_b = seeds_of_equal_losses(rng, seeds=5, subjects=200)
    paired = paired_difference(a, b, psi_a, psi_b)
    apart = [summary(a, psi_a), summary(b, psi_b)]
    assert paired.high - paired.low < 0.8 * np.hypot(*(s.high - s.low for s in apart))


def test_paired_difference_by_hand():
    """Two seeds, no difference between subjects but one each way."""
    psi = np.zeros((2, 4))
    psi[:, 0], psi[:, 1] = 0.1, -0.1
    found = paired_difference([0.8, 0.9], [0.7, 0.7], psi, np.zeros((2, 4)))
    part, between = 4 / 3 * 0.02, np.var([0.1, 0.2], ddof=1) / 2
    freedom = (part + between) ** 2 / (part**2 / 1 + between**2 / 1)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(part + between)
    assert found.value == pytest.approx(0.15)
    assert found.low == pytest.approx(max(-1, 0.15 - half))
    assert found.p == pytest.approx(2 * stats.t.sf(0.15 / np.sqrt(part + between), freedom))


def test_identical_losses():
    rng = np.random.default_rng(4)
    a, _, psi, _ = seeds_of_equal_losses(rng)
    found = paired_difference(a, a, psi, psi)
    assert (found.value, found.p) == (0.0, 1.0)
    assert found.low < 0 < found.high  # 60 subjects without a difference do not prove that there is none


def test_four_subjects_are_four():
    """Four of 1000 subjects differ, all one way: a sign test gives p = 1/8, and no claim may come out."""
    a = np.zeros((3, 1000))
    a[:, :4] = 1 / 1000
    found = paired_difference([0.984] * 3, [0.98] * 3, a - a.mean(), np.zeros((3, 1000)))
    assert found.p > 0.05


def test_one_seed_claims_nothing():
    psi = np.random.default_rng(0).normal(0, 1e-4, (1, 100))
    found = paired_difference([0.9], [0.5], psi, 0 * psi)
    assert found.low > 0
    assert found.p < 1e-6
    assert verdict(found.low, found.high, found.p, found.seeds) == "no difference found"
    assert verdict(found.low, found.high, found.p, 3) == "better"


def test_one_subject_claims_nothing():
    found = paired_difference([0.9] * 3, [0.5] * 3, np.zeros((3, 1)), np.zeros((3, 1)))
    assert found[1:4] == (-1.0, 1.0, 1.0)


def test_summary_covers_subjects_and_seeds():
    psi = np.random.default_rng(0).normal(0, 1e-3, (3, 200))
    calm, wild = summary([0.8, 0.8, 0.8], psi), summary([0.7, 0.8, 0.9], psi)
    assert calm.low < 0.8 < calm.high
    assert wild.high - wild.low > 3 * (calm.high - calm.low)
    assert wild.spread == pytest.approx(0.1)
    assert (wild.mean, wild.seeds) == (pytest.approx(0.8), 3)
    perfect = summary([1.0, 1.0, 1.0], np.zeros((3, 200)))
    assert perfect.high == 1.0
    assert 0.9 < perfect.low < 1.0
    assert np.isnan(summary([0.8], psi[:1]).spread)


def test_unpaired_input_is_refused():
    psi = np.zeros((2, 5))
    with pytest.raises(BadInput, match="same seeds"):
        paired_difference([1.0, 1.0], [1.0], psi, psi)
    with pytest.raises(BadInput, match="judge both on the same set"):
        paired_difference([1.0, 1.0], [1.0, 1.0], psi, np.zeros((2, 6)))
    with pytest.raises(BadInput, match="one vector"):
        summary([1.0], psi)


# Holm and the verdict


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    with pytest.raises(BadInput, match="0, 1"):
        holm([0.1, float("nan")])


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ((0.01, 0.02, 0.01, 3), "better"),
        ((-0.02, -0.01, 0.01, 3), "worse"),
        ((0.01, 0.02, 0.01, 2), "no difference found"),
        ((0.01, 0.02, 0.06, 5), "no difference found"),
        ((0.01, 0.02, 0.05, 5), "no difference found"),
        ((-0.01, 0.02, 0.01, 5), "no difference found"),
        ((0.0, 0.02, 0.01, 5), "no difference found"),
        ((0.01, 0.02, 0.01, 3, False), "not measurable"),
        ((float("nan"), 0.02, 0.01, 3), "not measurable"),
        ((0.01, 0.02, 0.01, 3, False, True), "diverged"),
        ((0.01, 0.02, 0.01, 3, True, False, False), "worse"),
        ((-0.02, -0.01, 0.01, 3, True, False, False), "better"),
    ],
)
def test_verdict(arguments, phrase):
    assert verdict(*arguments) == phrase
