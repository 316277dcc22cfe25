"""AM-LFS against its formula, its start as softmax, and its safety at tiny probabilities."""

import math

import pytest
import torch

from faceloss import losses

SEARCHED = {
    "t_slope_0": 1.3,
    "t_offset_0": -0.2,
    "t_slope_1": 0.8,
    "t_offset_1": -0.1,
    "tau_slope_0": 0.7,
    "tau_offset_0": 0.05,
    "tau_slope_1": 1.2,
    "tau_offset_1": -0.3,
}


def piece(loss, name, value, low, high):
    numbers = loss.hyperparameters()
    bins = len(numbers) // 4
    part = min(int((value.item() - low) / (high - low) * bins), bins - 1)
    return float(numbers[f"{name}_slope_{part}"]) * value + float(numbers[f"{name}_offset_{part}"])


def naive(loss, embeddings, labels):
    total, halves = 0.0, set()
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        lengths = [w.norm() * x.norm() for w in loss.weight]
        cos = [(w * x).sum() / length for w, length in zip(loss.weight, lengths, strict=True)]
        own = (lengths[y] * piece(loss, "t", cos[y], -1, 1)).exp()
        others = sum((lengths[j] * cos[j]).exp() for j in range(len(cos)) if j != y)
        halves |= {("t", bool(cos[y] > 0)), ("tau", bool(own > others))}
        total = total - torch.log(piece(loss, "tau", own / (own + others), 0, 1))
    assert len(halves) == 4, "the input must reach both halves of both functions"
    return total / len(labels)


@pytest.mark.parametrize("searched", [SEARCHED, {}])
def test_agrees_with_its_formula(agrees, batch, searched):
    loss = losses.build("am_lfs", dim=6, classes=4, bins=2)
    loss.set_hyperparameters(searched)
    agrees(loss, naive)


def test_it_starts_as_softmax(batch):
    embeddings, labels = batch
    plain = losses.build("softmax", dim=6, classes=4, seed=1).double()(embeddings, labels).loss
    value = losses.build("am_lfs", dim=6, classes=4, seed=1).double()(embeddings, labels).loss
    torch.testing.assert_close(value, plain, rtol=1e-12, atol=0)


def test_by_hand():
    """Logits 3 * t(0.6) and 4 with ||x|| = 5; t = c - 0.2: 5 * 0.4 = 2; tau = p / 2: loss = ln(1 + e^2) + ln 2."""
    loss = losses.build("am_lfs", dim=2, classes=2, bins=1).double()
    loss.set_hyperparameters({"t_offset_0": -0.2, "tau_slope_0": 0.5})
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    value = loss(torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(2)) + math.log(2), rel_tol=1e-12)


def test_a_constant_offset_of_t_on_the_unit_sphere_is_cosface(batch):
    embeddings, labels = torch.nn.functional.normalize(batch[0]), batch[1]
    loss = losses.build("am_lfs", dim=6, classes=4, seed=1).double()
    cosface = losses.build("cosface", dim=6, classes=4, s=1.0, m=0.35, seed=1).double()
    with torch.no_grad():
        loss.weight.copy_(torch.nn.functional.normalize(loss.weight))
    loss.set_hyperparameters({f"t_offset_{i}": -0.35 for i in range(6)})
    torch.testing.assert_close(loss(embeddings, labels).loss, cosface(embeddings, labels).loss, rtol=1e-10, atol=0)


@pytest.mark.parametrize("offset", [0.0, 0.1, -0.1])
def test_a_probability_of_0_is_finite(offset):
    loss = losses.build("am_lfs", dim=2, classes=2)
    loss.set_hyperparameters({"tau_offset_0": offset})
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[10.0, 0.0], [-10.0, 0.0]]))
    x = torch.tensor([[-10.0, 0.1]], requires_grad=True)
    value = loss(x, torch.tensor([0])).loss
    value.backward()
    assert math.isclose(value.item(), {0.0: 200.0, 0.1: -math.log(0.1), -0.1: -math.log(1e-12)}[offset], rel_tol=1e-4)
    assert torch.isfinite(x.grad).all()
    assert (x.grad.abs().max() > 0) == (offset == 0.0)


def test_fewer_than_one_bin_is_refused():
    with pytest.raises(ValueError, match="bins must be"):
        losses.build("am_lfs", dim=2, classes=2, bins=0)
