"""Samplers: what every batch holds, and that it depends on (seed, epoch) only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloss.data.batches import group_balanced_batches, identity_balanced_batches, shuffled_batches
from faceloss.errors import BadInput


@settings(deadline=None)
@given(n=st.integers(1, 200), batch=st.integers(1, 64), seed=st.integers(0, 3), epoch=st.integers(0, 3))
def test_shuffled(n, batch, seed, epoch):
    batches = shuffled_batches(n, batch, seed, epoch)
    assert [len(b) for b in batches] == ([n] if n <= batch else [batch] * (n // batch))
    shown = np.concatenate(batches)
    assert len(set(shown.tolist())) == len(shown)
    assert 0 <= shown.min() <= shown.max() < n
    for one, two in zip(batches, shuffled_batches(n, batch, seed, epoch), strict=True):
        np.testing.assert_array_equal(one, two)


def test_epochs_and_seeds_differ():
    orders = {tuple(shuffled_batches(50, 50, seed, epoch)[0].tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    labels = np.repeat(np.arange(10), 5)
    orders = {
        tuple(np.concatenate(identity_balanced_batches(labels, 2, 2, seed, epoch)).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_every_image_is_dropped_equally_often():
    shown = np.concatenate([np.concatenate(shuffled_batches(10, 4, 0, epoch)) for epoch in range(300)])
    assert len(shown) == 300 * 8
    assert np.abs(np.bincount(shown, minlength=10) - 240).max() < 40


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    p=st.integers(1, 6),
    k=st.integers(1, 6),
    seed=st.integers(0, 50),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_identity_balanced(counts, p, k, seed, order):
    # Labels neither sorted nor without gaps.
    labels = [3 * i + 1 for i, count in enumerate(counts) for _ in range(count)]
    order.shuffle(labels)
    labels = np.array(labels)
    if p > len(counts):
        with pytest.raises(BadInput, match=f"with {len(counts)} identities"):
            identity_balanced_batches(labels, p, k, seed, 0)
        return
    batches = identity_balanced_batches(labels, p, k, seed, 0)
    assert len(batches) == max(1, round(len(labels) / (p * k)))
    for batch in batches:
        people = labels[batch].reshape(p, k)
        assert (people == people[:, :1]).all()
        assert len(set(people[:, 0].tolist())) == p
        for images, label in zip(batch.reshape(p, k), people[:, 0], strict=True):
            own = int((labels == label).sum())
            times = np.unique(images, return_counts=True)[1]
            assert len(times) == min(k, own)
            assert times.max() - times.min() <= 1
    dealt = np.unique(np.concatenate([labels[b][::k] for b in batches]), return_counts=True)[1]
    if len(dealt) == len(counts):
        assert dealt.max() - dealt.min() <= 1
    else:
        assert dealt.max() == 1


def test_within_an_identity_every_image_has_its_turn():
    labels = np.repeat(np.arange(4), 12)
    shown = np.concatenate(identity_balanced_batches(labels, 4, 3, 0, 0))
    assert sorted(shown.tolist()) == list(range(48))


@pytest.mark.parametrize(("p", "k"), [(0, 2), (2, 0), (4, 2)])
def test_impossible_batches(p, k):
    with pytest.raises(BadInput, match="not possible with 3 identities"):
        identity_balanced_batches([0, 0, 1, 2], p, k, 0, 0)
    with pytest.raises(BadInput, match="at least 1"):
        shuffled_batches(0, 4, 0, 0)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    batch=st.integers(1, 30),
    epoch=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_group_balanced(counts, batch, epoch, order):
    groups = [f"g{i}" for i, count in enumerate(counts) for _ in range(count)]
    order.shuffle(groups)
    batches = group_balanced_batches(groups, batch, 0, epoch)
    assert [len(b) for b in batches] == [len(b) for b in shuffled_batches(len(groups), batch, 0, epoch)]
    (whole,) = group_balanced_batches(groups, len(groups), 0, epoch)
    shown = np.bincount(whole, minlength=len(groups))
    assert shown.sum() == len(groups)
    by_group = {name: [shown[i] for i, group in enumerate(groups) if group == name] for name in set(groups)}
    sums = [sum(times) for times in by_group.values()]
    assert max(sums) - min(sums) <= 1
    assert all(max(times) - min(times) <= 1 for times in by_group.values())


def test_every_image_of_a_large_group_has_its_turn_and_so_has_the_group_with_one_more():
    groups = ["a"] * 60 + ["b"] * 5 + ["c"] * 3
    shown = np.zeros((300, 68), dtype=int)
    for epoch in range(300):
        shown[epoch] = np.bincount(np.concatenate(group_balanced_batches(groups, 68, 1, epoch)), minlength=68)
    sums = np.stack([shown[:, :60].sum(axis=1), shown[:, 60:65].sum(axis=1), shown[:, 65:].sum(axis=1)])
    assert sums.sum(axis=1).tolist() == [6800, 6800, 6800]  # 68 = 3 * 22 + 2: each has one less in a third of epochs
    often = shown[:, :60].sum(axis=0)
    assert np.abs(often - 300 * 68 / 3 / 60).max() < 40
    assert len({tuple(row) for row in shown}) == 300


@pytest.mark.parametrize(("sizes", "p", "wanted"), [((8, 8, 8), 6, (2, 2, 2)), ((20, 1, 9), 7, (3, 1, 3))])
def test_identities_of_a_batch_are_balanced_by_group(sizes, p, wanted):
    """As far as there are so many: of a group with one identity no batch has two."""
    labels = np.repeat(np.arange(sum(sizes)), 3)
    group_of = np.repeat(["x", "y", "z"], sizes)
    groups = group_of[labels].tolist()
    batches = identity_balanced_batches(labels, p, 2, 0, 0, groups)
    plain = identity_balanced_batches(labels, p, 2, 0, 0)
    assert len(batches) == len(plain)
    for batch in batches:
        people = np.unique(labels[batch])
        assert len(people) == p
        assert tuple(np.count_nonzero(group_of[people] == name) for name in "xyz") == wanted
    assert any(len(set(group_of[np.unique(labels[b])])) < 3 or len(b) != p * 2 for b in plain) or sizes[1] == 8


def test_the_odd_identity_goes_round():
    labels = np.repeat(np.arange(30), 4)
    groups = np.repeat(["x", "y", "z"], 40).tolist()
    batches = identity_balanced_batches(labels, 4, 2, 0, 0, groups)
    firsts = np.array([[np.count_nonzero(np.unique(labels[b]) // 10 == g) for g in range(3)] for b in batches])
    assert (firsts.sum(axis=1) == 4).all()
    assert np.ptp(firsts.sum(axis=0)) <= 1
