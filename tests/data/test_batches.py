"""Samplers: what every batch holds, and that it depends on (seed, epoch) only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloss.data.batches import identity_balanced_batches, shuffled_batches
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
