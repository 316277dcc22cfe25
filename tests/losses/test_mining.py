"""Miners against their definitions written as loops, on random batches."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloss.losses import mining, pairwise


def written_out(miner):
    return lambda distances, labels, generator: miner(distances, labels, generator).triplets(distances, labels)


MINERS = {
    "all": written_out(mining.all_triplets),
    "all_semi_hard": written_out(mining.all_semi_hard),
    "hard": mining.hard,
    "easy": mining.easy,
    "hard_negative": mining.hard_negative,
    "semi_hard": mining.semi_hard,
    "random": mining.random,
    "distance_weighted": lambda d, y, g: mining.distance_weighted(d, y, g, dim=4),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@st.composite
def batches(draw):
    """Distances between unit vectors and labels; any composition, single rows and single identities included."""
    size = draw(st.integers(1, 12))
    labels = torch.tensor(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)))
    vectors = torch.randn(size, 4, generator=generator(draw(st.integers(0, 10**6))), dtype=torch.float64)
    if draw(st.booleans()):
        vectors = vectors.round()  # ties, duplicates and zeros
    return torch.cdist(*[torch.nn.functional.normalize(vectors)] * 2), labels


def pairs(labels):
    rows = range(len(labels))
    return [(a, p) for a in rows for p in rows if a != p and labels[a] == labels[p]]


def others(labels, a):
    return [n for n in range(len(labels)) if labels[n] != labels[a]]


@pytest.mark.parametrize("name", MINERS)
@given(batch=batches(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_triplets_are_triplets(name, batch, seed):
    distances, labels = batch
    triplets = MINERS[name](distances, labels, generator(seed))
    assert all(column.dtype == torch.int64 and column.ndim == 1 for column in triplets)
    for a, p, n in zip(*(column.tolist() for column in triplets), strict=True):
        assert a != p
        assert labels[a] == labels[p] != labels[n]
    again = MINERS[name](distances, labels, generator(seed))
    assert all(torch.equal(one, two) for one, two in zip(triplets, again, strict=True))


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_all_is_all(batch):
    distances, labels = batch
    found = list(zip(*(column.tolist() for column in MINERS["all"](distances, labels, generator())), strict=True))
    assert sorted(found) == sorted((a, p, n) for a, p in pairs(labels) for n in others(labels, a))


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_all_semi_hard_is_all_that_are_farther(batch):
    distances, labels = batch
    found = list(zip(*(c.tolist() for c in MINERS["all_semi_hard"](distances, labels, generator())), strict=True))
    triplets = [(a, p, n) for a, p in pairs(labels) for n in others(labels, a)]
    assert sorted(found) == sorted(t for t in triplets if distances[t[0], t[2]] > distances[t[0], t[1]])


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_identities_are_those_of_the_masks(batch):
    _, labels = batch
    groups = mining.identities(labels)
    anchor, positive = mining.positives(labels).nonzero(as_tuple=True)
    assert all(torch.equal(one, two) for one, two in zip(groups.pairs(), (anchor, positive), strict=True))
    assert groups.several() == bool(mining.negatives(labels).any())
    rows = torch.tensor([len(labels) - 1, 0, 0])
    own = torch.zeros(3, len(labels), dtype=torch.bool)
    own[groups.of(rows)] = True
    assert torch.equal(own, ~mining.negatives(labels)[rows])


def test_identities_keep_the_order_of_a_large_batch():
    labels = torch.randint(3, (1000,), generator=generator())
    wanted = mining.positives(labels).nonzero(as_tuple=True)
    assert all(torch.equal(one, two) for one, two in zip(mining.identities(labels).pairs(), wanted, strict=True))


@pytest.mark.parametrize("name", MINERS)
@given(batch=batches(), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_blocks_of_one_row_pick_the_same(name, batch, seed):
    distances, labels = batch
    whole = MINERS[name](distances, labels, generator(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairwise, "BLOCK", 1)
        rowwise = MINERS[name](distances, labels, generator(seed))
    assert all(torch.equal(one, two) for one, two in zip(whole, rowwise, strict=True))


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_hard_is_hardest(batch):
    distances, labels = batch
    anchor, positive, negative = mining.hard(distances, labels, generator())
    wanted = [a for a in range(len(labels)) if others(labels, a) and any(a == b for b, _ in pairs(labels))]
    assert anchor.tolist() == wanted
    for a, p, n in zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True):
        assert distances[a, p] == max(distances[a, q] for b, q in pairs(labels) if a == b)
        assert distances[a, n] == min(distances[a, m] for m in others(labels, a))


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_easy_is_the_closest_positive_and_the_closest_negative(batch):
    distances, labels = batch
    anchor, positive, negative = mining.easy(distances, labels, generator())
    wanted = [a for a in range(len(labels)) if others(labels, a) and any(a == b for b, _ in pairs(labels))]
    assert anchor.tolist() == wanted
    for a, p, n in zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True):
        assert distances[a, p] == min(distances[a, q] for b, q in pairs(labels) if a == b)
        assert distances[a, n] == min(distances[a, m] for m in others(labels, a))


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_hard_negative_is_the_closest_for_every_pair(batch):
    distances, labels = batch
    anchor, positive, negative = mining.hard_negative(distances, labels, generator())
    found = list(zip(anchor.tolist(), positive.tolist(), strict=True))
    assert sorted(found) == sorted((a, p) for a, p in pairs(labels) if others(labels, a))
    for a, n in zip(anchor.tolist(), negative.tolist(), strict=True):
        assert distances[a, n] == min(distances[a, m] for m in others(labels, a))


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_all_pairs_is_every_pair_once(batch):
    distances, labels = batch
    first, second, same = mining.all_pairs(distances, labels, generator())
    rows = range(len(labels))
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(i, j) for i in rows for j in rows if i < j]
    assert same.tolist() == [bool(labels[i] == labels[j]) for i, j in zip(first, second, strict=True)]


@given(batch=batches(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_one_pair_each_is_two_faces_of_each_identity_that_has_them(batch, seed):
    distances, labels = batch
    first, second, same = mining.one_pair_each(distances, labels, generator(seed))
    assert same.all()
    assert (first != second).all()
    assert torch.equal(labels[first], labels[second])
    assert sorted(labels[first].tolist()) == [k for k in range(5) if (labels == k).sum() > 1]
    again = mining.one_pair_each(distances, labels, generator(seed))
    assert all(torch.equal(one, two) for one, two in zip((first, second, same), again, strict=True))


def test_one_pair_each_draws_all_ordered_pairs_equally_often():
    labels = torch.tensor([4, 0, 4, 1, 4])
    counts = torch.zeros(5, 5)
    for seed in range(1800):
        first, second, _ = mining.one_pair_each(torch.zeros(5, 5), labels, generator(seed))
        counts[first, second] += 1
    drawn = counts[counts > 0]
    assert len(drawn) == 6
    assert counts.sum() == 1800
    assert ((drawn - 300) ** 2 / 300).sum() < 20.5  # chi-square, 5 degrees of freedom, p = 0.001


@pytest.mark.parametrize("name", ["hard", "easy", "hard_negative", "semi_hard", "random"])
@given(batch=batches())
@settings(max_examples=30, deadline=None)
def test_only_rows_without_a_positive_or_a_negative_are_skipped(name, batch):
    distances, labels = batch
    anchors = MINERS[name](distances, labels, generator()).anchor
    wanted = {a for a, _ in pairs(labels) if others(labels, a)}
    assert set(anchors.tolist()) == wanted


@pytest.mark.parametrize("name", MINERS)
@given(seed=st.integers(0, 10**6), closeness=st.sampled_from([0.0, 0.3, 1.0, 30.0]), single=st.booleans())
@settings(max_examples=10, deadline=None)
def test_triplets_are_triplets_in_512_dimensions(name, seed, closeness, single):
    """Where almost all distances are 1.41, and where faces of all identities lie on one spot, in either precision."""
    dtype = torch.float32 if single else torch.float64
    labels = torch.arange(12) % 4
    x = torch.randn(12, 512, generator=generator(seed), dtype=dtype)
    x = torch.nn.functional.normalize(closeness * x[:1] + (x if closeness < 30 else 0 * x))
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.isfinite(distances).all()
    miner = MINERS[name] if name != "distance_weighted" else partial(mining.distance_weighted, dim=512)
    a, p, n = miner(distances, labels, generator(seed))
    assert torch.equal(labels[a], labels[p])
    assert (a != p).all()
    assert (labels[a] != labels[n]).all()
    if name == "distance_weighted":
        assert (distances[a, n] < 1.4).all()
        close = (mining.negatives(labels) & (distances < 1.4)).any(1)
        assert set(a.tolist()) == set(close.nonzero().squeeze(1).tolist())
    elif name != "all_semi_hard":  # where a row may have none
        assert set(a.tolist()) == set(range(12))


@given(batch=batches())
@settings(max_examples=60, deadline=None)
def test_semi_hard_is_the_closest_beyond_the_positive(batch):
    distances, labels = batch
    anchor, positive, negative = mining.semi_hard(distances, labels, generator())
    found = list(zip(anchor.tolist(), positive.tolist(), strict=True))
    assert sorted(found) == sorted((a, p) for a, p in pairs(labels) if others(labels, a))
    for a, p, n in zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True):
        farther = [distances[a, m] for m in others(labels, a) if distances[a, m] > distances[a, p]]
        expected = min(farther) if farther else max(distances[a, m] for m in others(labels, a))
        assert distances[a, n] == expected


@given(batch=batches(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_distance_weighted_respects_its_cutoff_and_skips_rows_without_candidates(batch, seed):
    distances, labels = batch
    anchor, positive, negative = mining.distance_weighted(distances, labels, generator(seed), dim=4)
    assert (distances[anchor, negative] < 1.4).all()
    with_candidate = [(a, p) for a, p in pairs(labels) if any(distances[a, n] < 1.4 for n in others(labels, a))]
    assert sorted(zip(anchor.tolist(), positive.tolist(), strict=True)) == sorted(with_candidate)


def test_random_draws_all_negatives_equally_often():
    labels = torch.tensor([0, 0, 1, 2, 3, 4])
    counts = torch.zeros(6)
    for seed in range(2000):
        drawn = mining.random(torch.zeros(6, 6), labels, generator(seed)).negative
        counts += torch.bincount(drawn, minlength=6)
    assert counts[:2].sum() == 0
    expected = counts.sum() / 4
    assert ((counts[2:] - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def uniform_sphere(n, dim, seed):
    return torch.nn.functional.normalize(torch.randn(n, dim, generator=generator(seed), dtype=torch.float64))


def test_distance_weighted_draws_all_distances_equally_often():
    """Uniform points on the sphere in 4 dimensions: the histogram of drawn distances is flat on [.5, 1.4] (T20)."""
    counts, plain = torch.zeros(6), torch.zeros(6)
    edges = torch.linspace(0.5, 1.4, 7, dtype=torch.float64)
    labels = torch.arange(400) // 2
    for seed in range(16):
        vectors = uniform_sphere(400, 4, seed)
        distances = torch.cdist(vectors, vectors)
        for histogram, miner in ((counts, MINERS["distance_weighted"]), (plain, mining.random)):
            anchor, _, negative = miner(distances, labels, generator(seed))
            drawn = distances[anchor, negative]
            histogram += torch.histogram(drawn[(drawn >= 0.5) & (drawn < 1.4)], edges).hist.float()
    share = counts / counts.sum()
    assert (share - 1 / 6).abs().max() < 0.02, share
    assert ((plain / plain.sum()) - 1 / 6).abs().max() > 0.08  # drawn evenly, far pairs dominate


def test_distance_weighted_weights_are_those_of_the_paper():
    """One anchor, two negatives: the odds are q(D2)/q(D1), with D below the floor counted as 0.5."""
    dim = 5
    for one, two in ((0.9, 1.1), (0.2, 0.8)):
        distances = torch.full((4, 4), 0.1)
        distances[0, 2], distances[0, 3] = one, two
        distances[1, 2] = distances[1, 3] = 1.5  # the other anchor has no candidate

        def density(d):
            d = max(d, 0.5)
            return d ** (dim - 2) * (1 - d * d / 4) ** ((dim - 3) / 2)

        labels = torch.tensor([0, 0, 1, 2])
        drawn = [mining.distance_weighted(distances, labels, generator(seed), dim=dim) for seed in range(3000)]
        assert all(t.anchor.tolist() == [0] for t in drawn)
        share = sum(t.negative.item() == 2 for t in drawn) / 3000
        expected = density(two) / (density(one) + density(two))
        assert math.isclose(share, expected, abs_tol=4 * 0.5 / math.sqrt(3000))
        assert abs(expected - 0.5) > 0.08


def test_distance_weighted_never_draws_what_weighs_nothing():
    """A draw of exactly 0 and the largest below 1 still meet a candidate, not the rows of weight 0 at both ends."""
    labels = torch.tensor([1, 1, 2, 3, 4, 1])
    distances = torch.full((6, 6), 1.3, dtype=torch.float64)
    distances[:, 2] = distances[:, 4] = 1.5
    for uniform in (0.0, 1 - 2**-53):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "rand", lambda count, uniform=uniform, **_: torch.full((count,), uniform).double())
            anchor, _, negative = mining.distance_weighted(distances, labels, generator(), dim=8)
        assert anchor.tolist() == [0, 0, 1, 1, 5, 5]
        assert negative.tolist() == [3] * 6


@pytest.mark.parametrize("cutoff", [1.2, 1.8, 2.0, 3.0])
def test_distance_weighted_takes_any_cutoff(cutoff):
    """Beyond sqrt 2 weights rise again; at 2 the density is 0."""
    labels = torch.arange(40) // 2
    distances = torch.rand(40, 40, generator=generator(), dtype=torch.float64) * 2
    distances[:, :6] = 2.0
    distances[:6, 10] = 2.0
    for dim in (3, 8, 512):
        anchor, _, negative = mining.distance_weighted(distances, labels, generator(), dim=dim, cutoff=cutoff)
        assert len(anchor) == 40
        assert (labels[anchor] != labels[negative]).all()
        assert (distances[anchor, negative] < cutoff).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_distance_weighted_survives_512_dimensions(dtype):
    """Log weights span 370 there: one row has a far candidate, another a near one, and neither is lost."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    distances = torch.full((6, 6), 1.45, dtype=dtype)
    distances[0, 2] = distances[2, 0] = 0.3
    distances[4, 3] = distances[3, 4] = 1.39
    distances[4, 2] = 1.0  # of two that are far, beside the closest of the batch, the closer one weighs e^100 more
    distances[4, 5] = 0.2  # also beside a positive
    for seed in range(20):
        anchor, _, negative = mining.distance_weighted(distances, labels, generator(seed), dim=512)
        assert dict(zip(anchor.tolist(), negative.tolist(), strict=True)) == {0: 2, 2: 0, 3: 4, 4: 2}
