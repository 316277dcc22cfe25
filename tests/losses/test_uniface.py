"""UniFace against its formula, and its threshold."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    s, m, weight = (float(loss.hyperparameters()[name]) for name in ("s", "m", "weight"))
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        for j, w in enumerate(loss.weight):
            c = (w * x).sum() / (w.norm() * x.norm())
            if j == y:
                total = total + torch.log(1 + (-(s * (c - m) + loss.bias)).exp())
            else:
                total = total + weight * torch.log(1 + (s * c + loss.bias).exp())
    return total / len(labels)


@pytest.mark.parametrize(("s", "m", "weight"), [(64.0, 0.4, 1.0), (5.0, 0.1, 0.3)])
def test_agrees_with_its_formula(agrees, s, m, weight):
    agrees(losses.build("uniface", dim=6, classes=4, s=s, m=m, weight=weight), naive)


def test_by_hand():
    """c = 0.6 and 0.8, m = 0.1, s = 10, b = -7: the questions are at -2 and 1: ln(1 + e^2) + ln(1 + e)."""
    loss = losses.build("uniface", dim=2, classes=2, s=10.0, m=0.1).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
        loss.bias.fill_(-7.0)
    result = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(2)) + math.log1p(math.e), rel_tol=1e-12)
    assert result.statistics["accuracy"].item() == 0
    assert result.statistics["bias"].item() == -7.0


def test_the_threshold_starts_at_ln_10_k():
    assert math.isclose(losses.build("uniface", dim=6, classes=50).bias.item(), -math.log(500), rel_tol=1e-6)


def test_it_bounds_the_softmax_of_its_margin(batch):
    """Without a bias the terms of the others add up outside the logarithm: never below CosFace."""
    loss = losses.build("uniface", dim=6, classes=4, s=5.0, m=0.1, seed=1).double()
    cosface = losses.build("cosface", dim=6, classes=4, s=5.0, m=0.1, seed=1).double()(*batch).loss
    for bias in (-3.0, 0.0, 3.0):
        with torch.no_grad():
            loss.bias.fill_(bias)
        assert loss(*batch).loss > cosface


def test_a_hopeless_sample_keeps_its_gradient():
    """The released code clamps logits to [-s, s], where the gradient ends."""
    loss = losses.build("uniface", dim=2, classes=2)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    x = torch.tensor([[-1.0, 0.01]], requires_grad=True)
    loss(x, torch.tensor([0])).loss.backward()
    assert x.grad.abs().max() > 0.1
