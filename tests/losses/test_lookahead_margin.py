"""The look-ahead margin at given numbers: its formula in loops, and the losses that it contains."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.lookahead_margin import LIMITS, UNITS, values


def naive(loss, embeddings, labels):
    s, m1, m2, m3 = (float(loss.hyperparameters()[name]) for name in ("s", "m1", "m2", "m3"))
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
        angle = m1 * torch.acos(cos[y]) + m2
        turns = int(angle.item() // math.pi)
        target = (-1) ** turns * torch.cos(angle) - 2 * turns - m3
        others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
        total = total - torch.log((s * target).exp() / ((s * target).exp() + others))
    return total / len(labels)


@pytest.mark.parametrize("numbers", [(8.0, 1.0, 0.0, 0.2), (8.0, 1.0, 0.5, 0.0), (6.0, 1.4, 0.3, 0.1)])
def test_agrees_with_its_formula(agrees, numbers):
    settings = dict(zip(("s", "m1", "m2", "m3"), numbers, strict=True))
    agrees(losses.build("lookahead_margin", dim=6, classes=4, **settings), naive, tolerance=1e-9)


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [("cosface", {"m": 0.3}, {"m3": 0.3}), ("arcface", {"m": 0.4}, {"m2": 0.4, "m3": 0.0})],
)
def test_contains_cosface_and_arcface(batch, name, theirs, ours):
    embeddings, labels = batch
    one = losses.build(name, dim=6, classes=4, s=16.0, seed=1, **theirs).double()(embeddings, labels).loss
    two = losses.build("lookahead_margin", dim=6, classes=4, s=16.0, seed=1, **ours).double()(embeddings, labels).loss
    assert one > 1
    torch.testing.assert_close(one, two, rtol=1e-10, atol=0)


def test_candidates_stay_within_their_limits_and_are_monotone_in_the_angle():
    draws = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 30
    loss = losses.build("lookahead_margin", dim=2, classes=2)
    cos = torch.cos(torch.linspace(0.01, math.pi - 0.01, 300, dtype=torch.float64))
    for draw in draws.tolist():
        found = values(draw)
        assert list(found) == list(UNITS)
        assert all(low <= found[name] <= high for name, (low, high) in LIMITS.items())
        loss.set_hyperparameters(found)
        target = loss.psi(cos, *(torch.tensor(found[name], dtype=torch.float64) for name in ("m1", "m2", "m3")))
        assert (target.diff() < 1e-9).all()
