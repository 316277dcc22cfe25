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


def norm_gradient(norm, **given):
    """d loss / d ||x|| at a target angle of 0 degrees and that of the other class at 90."""
    loss = losses.build("magface", dim=2, classes=2, s=10.0, **given).double()
    with torch.no_grad():
        loss.terms["magface"].weight.copy_(torch.eye(2))
    x = torch.tensor([[norm, 0.0]], dtype=torch.float64, requires_grad=True)
    value = loss(x, torch.tensor([0])).loss
    value.backward()
    return value.item(), x.grad[0, 0].item()


def test_below_a_low_there_is_no_gradient_of_the_norm_as_in_the_release_unless_pulled():
    """ "pull" goes on along the tangent: -lam (1/l^2 - 1/u^2) at every norm below l, also at 0 itself finite."""
    slope = -35 * (1 / 10**2 - 1 / 110**2)
    for norm in (0.01, 5.0, 9.99):
        value, gradient = norm_gradient(norm)
        assert gradient == pytest.approx(0, abs=1e-12)
        pulled, lifting = norm_gradient(norm, below="pull")
        assert lifting == pytest.approx(slope, rel=1e-9)
        assert pulled - value == pytest.approx(-slope * (10 - norm), rel=1e-9)
    assert norm_gradient(0.0, below="pull")[1] == pytest.approx(0, abs=1e-12), "a zero vector has no direction"
    assert norm_gradient(10.01)[1] < -0.1, "inside the range longer is cheaper"
    for norm in (10.01, 60.0, 200.0):
        assert norm_gradient(norm) == norm_gradient(norm, below="pull")


@pytest.mark.parametrize(("below", "lifted"), [("clip", False), ("pull", True)])
def test_a_network_that_starts_below_the_range_stays_there_unless_pulled(below, lifted):
    """32 dimensions behind a batch normalization: norms near sqrt(32) = 5.7, all below 10."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(10, 24, generator=generator)
    net = torch.nn.Sequential(torch.nn.Linear(24, 32, bias=False), torch.nn.BatchNorm1d(32))
    with torch.no_grad():
        net[0].weight.copy_(torch.randn(32, 24, generator=generator) / 5)
    loss = losses.build("magface", dim=32, classes=10, s=32.0, below=below)
    optimizer = torch.optim.SGD([*net.parameters(), *loss.parameters()], lr=0.05, momentum=0.9)
    for _ in range(60):
        labels = torch.randint(10, (64,), generator=generator)
        embeddings = net(centers[labels] + 0.7 * torch.randn(64, 24, generator=generator))
        optimizer.zero_grad()
        loss(embeddings, labels).loss.backward()
        optimizer.step()
    inside = (embeddings.detach().norm(dim=1) > 10).float().mean().item()
    assert inside > 0.9 if lifted else inside == 0


def test_norms_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="a_high must be a finite number above 10"):
        losses.build("magface", dim=6, classes=4, a_high=5.0)
