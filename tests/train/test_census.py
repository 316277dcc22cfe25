"""The census of an epoch: angles and weights as they are, whoever carries them, over checkpoints."""

import math

import numpy as np
import pytest
import torch

from faceloss import losses
from faceloss.losses.core import Targets
from faceloss.train import census

CLASSES = 7


def of(angles: list[float], weights: list[float]) -> Targets:
    """What is watched of samples at these angles that are pulled with these weights."""
    cos = torch.tensor(angles, dtype=torch.float64).deg2rad().cos()
    zeros = torch.zeros(2, len(angles), dtype=torch.float64, requires_grad=True)
    zeros.grad = torch.tensor([weights, [0.0] * len(weights)], dtype=torch.float64) / len(weights)
    return Targets(cos, torch.tensor(1.0), zeros)


def test_of_softmax_the_bins_hold_one_minus_p() -> None:
    """A synthetic batch in which all samples of a bin stand at one angle: the mean of the bin is the formula's."""
    s, degrees = 12.0, [22.5, 37.5, 52.5, 67.5, 82.5, 97.5, 122.5]
    head = losses.build("normface", dim=CLASSES + 1, classes=CLASSES, s=s).double()
    with torch.no_grad():
        head.weight.copy_(torch.eye(CLASSES, CLASSES + 1))
    theta = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    labels = torch.arange(CLASSES)
    embeddings = torch.zeros(CLASSES, CLASSES + 1, dtype=torch.float64)  # at theta to the own, 90 to all others
    embeddings[labels, labels], embeddings[:, -1] = theta.cos(), theta.sin()
    total = census.empty()
    for _ in range(3):
        head((5 * embeddings).requires_grad_(), labels).loss.backward()
        census.count(total, head.targets)
    found = census.facts(total, weights=True)
    expected = {
        int(a // 5): 1 - math.exp(s * c) / (math.exp(s * c) + CLASSES - 1)
        for a, c in zip(degrees, theta.cos().tolist(), strict=True)
    }
    assert max(expected.values()) - min(expected.values()) > 0.9
    for place, (samples, weight) in enumerate(zip(found["target_angles"], found["target_weights"], strict=True)):
        assert samples == (3 if place in expected else 0)
        assert weight is None if place not in expected else abs(weight - expected[place]) < 1e-6


def test_who_carries_the_gradient() -> None:
    """Ten samples, the hardest of which has half of all the weight, the easiest five a quarter."""
    total = census.empty()
    census.count(total, of([10 + 10.0 * i for i in range(10)], [0.5] * 5 + [0.625] * 4 + [5.0]))
    found = census.facts(total, weights=False)
    assert found["hardest_tenth"] == pytest.approx(0.5)
    assert found["easiest_half"] == pytest.approx(0.25)
    assert "target_weights" not in found
    assert sum(found["target_angles"]) == 10
    assert found["target_angles"][2] == 1


def test_samples_that_are_pulled_alike_share_alike() -> None:
    total = census.empty()
    census.count(total, of(np.random.default_rng(0).uniform(20, 120, 1000).tolist(), [0.7] * 1000))
    found = census.facts(total, weights=True)
    assert found["hardest_tenth"] == pytest.approx(0.1, abs=1e-6)
    assert found["easiest_half"] == pytest.approx(0.5, abs=1e-6)
    assert {w for w in found["target_weights"] if w is not None} == {0.7}


def test_the_ends_and_what_is_not_finite() -> None:
    total = census.empty()
    census.count(total, of([0.0, 180.0, 90.0], [0.0, 0.0, float("nan")]))
    found = census.facts(total, weights=True)
    assert [place for place, samples in enumerate(found["target_angles"]) if samples] == [0, 18, 35]
    assert found["hardest_tenth"] is None
    assert found["target_weights"][18] == 0.0
    assert census.facts(census.empty(), weights=True) == {}


def test_the_memory_does_not_grow_with_the_samples() -> None:
    total = census.empty()
    for seed in range(5):
        angles = np.random.default_rng(seed).uniform(0, 180, 400)
        census.count(total, of(angles.tolist(), [1.0] * 400))
    assert total.shape == (2, census.FINE)
    assert total.sum() == 4000
