"""The largest impostor scores are those of brute force: the same threshold, the same pairs."""

import numpy as np
import pytest
import torch

from faceloss.errors import BadInput
from faceloss.evaluate import metrics
from faceloss.matching import pairs
from faceloss.matching.screen import KINDS


def impostors(e, labels, brute):
    a, b = np.triu_indices(len(e), 1)
    keep = labels[a] != labels[b]
    return brute(e, e)[a, b][keep], a[keep], b[keep]


def check(found, k, scores, a, b):
    ordered = np.sort(scores)[::-1]
    assert found.impostors == len(scores)
    assert found.kept_out == ordered[k]
    above = scores > ordered[k]
    assert (found.scores == ordered[: above.sum()]).all()
    assert {*zip(found.first.tolist(), found.second.tolist(), strict=True)} == {
        *zip(a[above].tolist(), b[above].tolist(), strict=True)
    }
    for smaller in {0, k // 3, k}:
        assert found.at(smaller) == ordered[smaller]


@pytest.mark.parametrize("screen", [*KINDS, "auto"])
@pytest.mark.parametrize("k", [0, 5, 700])
def test_the_largest_are_those_of_brute_force(make_set, brute, small_blocks, kind_of_set, screen, k):
    e, labels = make_set(kind_of_set, 333, 36)
    found = pairs.largest(e, labels, k, screen=screen)
    assert found.screen in KINDS
    check(found, k, *impostors(e, labels, brute))


def test_the_threshold_is_the_one_of_the_metrics(make_set, brute):
    e, labels = make_set("generic", 1500, 64)
    scores, *_ = impostors(e, labels, brute)
    for far in (1e-3, 1e-4, 1e-5):
        k = metrics.allowed_errors(far, len(scores))
        found = pairs.largest(e, labels, k)
        threshold = np.nextafter(np.float32(found.kept_out), np.float32(np.inf))
        attained = np.mean(scores >= threshold)
        assert attained == len(found.scores) / len(scores) <= far
        assert attained > far - 2 / len(scores)  # no ties here: the most that is allowed
        assert np.mean(scores >= found.kept_out) > far


def test_several_processes_find_the_same(make_set, small_blocks):
    e, labels = make_set("generic", 700, 32)
    one, two = (pairs.largest(e, labels, 300, screen="bfloat16", workers=workers) for workers in (1, 2))
    assert one.scores[0] > one.kept_out
    for mine, theirs in zip(one, two, strict=True):
        assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("guess", [0.999, -np.inf])
def test_a_wrong_guess_costs_time_only(make_set, brute, small_blocks, monkeypatch, guess):
    e, labels = make_set("generic", 300, 36)
    scores, a, b = impostors(e, labels, brute)
    assert np.sum(scores > 0.999) < 40
    monkeypatch.setattr(pairs, "first_guess", lambda *_: guess)
    rounds = []
    found = pairs.largest(e, labels, 40, progress=lambda what, done, total: rounds.append(done == total))
    check(found, 40, scores, a, b)
    assert sum(rounds) == (2 if guess > 0 else 1)


def test_the_guess_saves_work(make_set, monkeypatch):
    e, labels = make_set("generic", 3000, 64)
    seen = []
    original = pairs.pair_scores
    monkeypatch.setattr(pairs, "pair_scores", lambda *a: seen.append(len(a[1])) or original(*a))
    pairs.largest(e, labels, 45, screen="int8")
    assert 45 < sum(seen) < 4_500_000 / 100


def test_a_guess_is_seldom_too_high():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=1_000_000).astype(np.float32)
    bars = [pairs.first_guess(rng.choice(scores, 100_000), 100, scores.size) for _ in range(50)]
    assert all(bar <= np.sort(scores)[-101] for bar in bars)
    assert np.mean(bars) > np.sort(scores)[-2000]
    assert pairs.first_guess(scores[:50], 999_998, scores.size) == -np.inf


def test_tops_keep_ties_out():
    tops = pairs.Tops(3)
    number = torch.arange(6)
    tops.add(torch.tensor([0.5, 0.9, 0.7, 0.7, 0.7, 0.1]), number, number + 10)
    found = tops.found()
    assert (found.bar, found.proven, found.scores.tolist(), found.first.tolist()) == (
        pytest.approx(0.7), True, pytest.approx([0.9]), [1],
    )  # fmt: skip
    other = pairs.Tops(3, 0.2)
    other.merge(found)
    assert (other.bar, other.proven) == (found.bar, True)


def test_a_bar_that_was_proven_elsewhere_stays():
    tops = pairs.Tops(1)
    number = torch.arange(3)
    tops.add(torch.tensor([0.3, 0.4, 0.5]), number, number)
    none = np.empty(0, np.int64)
    tops.merge(pairs.Found(0.9, True, np.empty(0, np.float32), none, none))
    found = tops.found()
    assert (found.bar, found.proven, len(found.scores)) == (0.9, True, 0)


def test_too_many_are_refused(make_set):
    e, labels = make_set("generic", 20, 8)
    with pytest.raises(BadInput, match="150 impostor"):
        pairs.largest(e, np.arange(20) // 5, 200)
    with pytest.raises(BadInput, match="impostor"):
        pairs.largest(e, np.zeros(20, int), 0)
    with pytest.raises(BadInput, match="screen"):
        pairs.largest(e, labels, 1, screen="int4")
