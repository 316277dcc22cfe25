"""MagFace against its formula, with both rules for the target."""

import math

import pytest
import torch

from faceloss import losses

NORMS = {"a_low": 2.0, "a_high": 3.0}  # the batch has norms below, within and above


def naive(target):
    def form(loss, embeddings, labels):
        s, m_low, m_high, lam = (float(loss.hyperparameters()[name]) for name in ("s", "m_low", "m_high", "lam"))
        head = loss.terms["magface"]
        low, high = NORMS["a_low"], NORMS["a_high"]
        total, branches = 0.0, set()
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in head.weight]
            a = torch.clamp(x.norm(), low, high)
            m = m_low + (m_high - m_low) * (a - low) / (high - low)
            turned = torch.cos(torch.acos(cos[y]) + m)
            branches.add(bool(cos[y] > (0 if target == "easy" else -torch.cos(m))))
            if target == "easy":
                own = turned if cos[y] > 0 else cos[y]
            else:
                own = turned if cos[y] > -torch.cos(m) else cos[y] - m * torch.sin(m)
            others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
            total = total - torch.log((s * own).exp() / ((s * own).exp() + others)) + lam * (1 / a + a / high**2)
        assert branches == {True, False}, "the input must reach both sides of the rule"
        return total / len(labels)

    return form


@pytest.mark.parametrize("target", ["easy", "subtract"])
@pytest.mark.parametrize("s", [64.0, 5.0])
def test_agrees_with_its_formula(agrees, batch, s, target):
    norms = batch[0].norm(dim=1)
    assert (norms < 2).any()
    assert (norms > 3).any()
    assert ((norms > 2) & (norms < 3)).any()
    given = {"target": target, "m_low": 0.8, "m_high": 1.2, **NORMS}
    agrees(losses.build("magface", dim=6, classes=4, s=s, **given), naive(target))


def test_by_hand():
    """||x|| = 60 is halfway: m = 0.625; cos(acos 0.6 + 0.625) against 0.8 at s = 10; g = 1/60 + 60/110^2."""
    loss = losses.build("magface", dim=2, classes=2, s=10.0).double()
    with torch.no_grad():
        loss.terms["magface"].weight.copy_(torch.eye(2))
    result = loss(torch.tensor([[36.0, 48.0]], dtype=torch.float64), torch.tensor([0]))
    expected = math.log1p(math.exp(10 * (0.8 - math.cos(math.acos(0.6) + 0.625))))
    pull = 1 / 60 + 60 / 110**2
    assert math.isclose(result.loss.item(), expected + 35 * pull, rel_tol=1e-9)
    assert math.isclose(result.statistics["norm_pull"].item(), pull, rel_tol=1e-9)


def test_at_one_norm_it_is_arcface(batch):
    embeddings = torch.nn.functional.normalize(batch[0]) * 10
    loss = losses.build("magface", dim=6, classes=4, lam=0.0, target="subtract", seed=1).double()
    arcface = losses.build("arcface", dim=6, classes=4, m=0.45, seed=1).double()
    torch.testing.assert_close(loss(embeddings, batch[1]).loss, arcface(embeddings, batch[1]).loss, rtol=1e-9, atol=0)


def test_the_default_weight_makes_larger_norms_pay_and_the_bound_is_the_papers():
    """lam >= s k u^2 l^2 / (u^2 - l^2), k the slope of the margin: 22.6 at the defaults."""
    bound = 64 * (0.8 - 0.45) / 100 * 110**2 * 10**2 / (110**2 - 10**2)
    assert math.isclose(bound, 22.6, abs_tol=0.05)
    assert losses.describe("magface").hyperparameters["lam"].default > bound


def test_norms_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="a_high must be a finite number above 10"):
        losses.build("magface", dim=6, classes=4, a_high=5.0)
