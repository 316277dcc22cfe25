"""Losses over benchmarks: against SciPy, against Demsar's tables, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from faceloss.errors import BadInput
from faceloss.evaluate.power import detectable, detectable_between
from faceloss.evaluate.ranking import critical_difference, friedman, rank_losses, ranks, wilcoxon
from faceloss.evaluate.statistics import Difference


def table(seed, benchmarks=9, losses=4, ties=False, lift=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0.8, 0.1, (benchmarks, 1)) + rng.normal(0, 0.01, (benchmarks, losses))
    x[:, 0] += lift
    return np.round(x, 2) if ties else x


@pytest.mark.parametrize("ties", [False, True])
def test_friedman_is_that_of_scipy_in_the_form_of_iman_and_davenport(ties):
    x = table(1, ties=ties, lift=0.008)
    chi = stats.friedmanchisquare(*x.T).statistic
    n, k = x.shape
    f = (n - 1) * chi / (n * (k - 1) - chi)
    assert friedman(x) == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)), rel=1e-9)
    assert 0 < friedman(x) < 0.9
    assert friedman(np.tile(np.arange(4.0), (5, 1))) == 0.0
    assert friedman(np.ones((5, 4))) == 1.0


def test_ranks_share_ties():
    assert ranks([[0.9, 0.8, 0.9, 0.1]]).tolist() == [[1.5, 3.0, 1.5, 4.0]]
    assert ranks([[0.9, 0.8, 0.9, 0.1]], larger_is_better=False).tolist() == [[3.5, 2.0, 3.5, 1.0]]


@pytest.mark.parametrize("n", [4, 6, 9, 14])
def test_wilcoxon_is_exact(n):
    d = np.random.default_rng(n).normal(0.3, 1, n)
    assert wilcoxon(d).p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-12)
    assert wilcoxon(-d) == (wilcoxon(d).p, -wilcoxon(d).lead)


@pytest.mark.parametrize("seed", range(6))
def test_wilcoxon_with_ties_and_zeros_counts_every_sign(seed):
    d = np.random.default_rng(seed).integers(-2, 5, 9) / 100
    assert len(np.unique(np.abs(d))) < 6
    rank = stats.rankdata(np.abs(d))[d != 0]
    up = rank[d[d != 0] > 0].sum()
    sums = [sum(r for k, r in enumerate(rank) if code >> k & 1) for code in range(2 ** len(rank))]
    extreme = min(up, rank.sum() - up)
    assert wilcoxon(d).p == pytest.approx(min(1, 2 * np.mean(np.array(sums) <= extreme)))
    assert wilcoxon(d).lead == pytest.approx(2 * up - rank.sum())
    assert wilcoxon(np.zeros(7)).p == 1.0


def test_critical_differences_are_those_of_the_table():
    """q_0.05 of Demsar (2006), table 5a, for 2 to 10 classifiers."""
    for k, q in zip(range(2, 11), (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164), strict=True):
        assert critical_difference(k, 14) == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 14)), abs=2e-3)


def test_one_loss_that_is_better_everywhere_is_found():
    found = rank_losses(table(4, benchmarks=10, lift=0.1), list("abcd"))
    assert found.labels[0] == "a"
    assert found.mean_ranks[0] == 1.0
    assert found.friedman_p < 0.01
    verdicts = {(pair.one, pair.two): pair.verdict for pair in found.pairs}
    assert {verdicts["a", other] for other in "bcd"} == {"better"}
    assert {v for pair, v in verdicts.items() if "a" not in pair} == {"no difference found"}
    assert found.cliques == (found.labels[1:],)
    against = rank_losses(table(4, benchmarks=10, lift=-0.1), list("abcd"), control="a")
    assert {(pair.two, pair.verdict) for pair in against.pairs} == {("a", "better")}
    assert len(against.pairs) == 3
    errors = rank_losses(-table(4, benchmarks=10, lift=0.1), list("abcd"), larger_is_better=False)
    assert errors.pairs == found.pairs


def test_equal_losses_are_seldom_called_different():
    called = [
        any(p.verdict in ("better", "worse") for p in rank_losses(table(s), list("abcd")).pairs) for s in range(200)
    ]
    assert np.mean(called) <= 0.08


def test_too_few_benchmarks_are_not_measurable():
    """Five that all agree: p = 1/16 at best."""
    x = table(0, benchmarks=5, losses=2, lift=0.5)
    found = rank_losses(x, ["a", "b"])
    assert found.pairs[0].p == pytest.approx(2 / 32)
    assert found.pairs[0].verdict == "not measurable"
    assert rank_losses(table(0, benchmarks=6, losses=2, lift=0.5), ["a", "b"]).pairs[0].verdict == "better"
    many = rank_losses(table(0, benchmarks=8, losses=5, lift=0.5), list("abcde"))  # ten pairs: 10 / 128
    assert {pair.verdict for pair in many.pairs} == {"not measurable"}
    single = rank_losses(table(0, benchmarks=1), list("abcd"))
    assert (single.friedman_p, single.critical_difference) == (None, None)


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(BadInput, match="do not fit"):
        rank_losses(np.ones((3, 2)), ["a"])
    with pytest.raises(BadInput, match="lacks the number"):
        rank_losses(np.array([[0.5, np.nan]]), ["a", "b"])
    with pytest.raises(BadInput, match="no loss named 'c'"):
        rank_losses(np.ones((3, 2)), ["a", "b"], control="c")


def test_detectable_by_hand():
    found = Difference(0.0, -0.1, 0.1, 1.0, 3, error=0.01, freedom=8.0)
    by_hand = 0.01 * (stats.t.ppf(0.975, 8) + stats.t.ppf(0.8, 8))
    assert detectable(found) == pytest.approx(by_hand)
    assert detectable(found, 30) == pytest.approx(0.01 * (stats.t.ppf(1 - 0.025 / 30, 8) + stats.t.ppf(0.8, 8)))
    assert detectable(found._replace(error=float("inf"))) == float("inf")
    one_subject = np.zeros((3, 1))
    assert detectable_between([0.9] * 3, [0.5] * 3, one_subject, one_subject) == float("inf")
    with pytest.raises(BadInput, match="Power"):
        detectable(found, 0)
