"""SphereFace-R against its formula, in all versions and both gradients."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.sphereface_r import clipped, divided, falling


def naive(version, gradient):
    def form(loss, embeddings, labels):
        s, m = (float(loss.hyperparameters()[name]) for name in "sm")
        total, turned = 0.0, set()
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            plain = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            cos = list(plain)
            theta = torch.acos(cos[y])
            k = math.floor(m * theta.item() / math.pi)
            turned.add(k > 0)
            if version == "v0":
                cos[y] = (-1) ** k * torch.cos(m * theta) - 2 * k
            elif version == "v1":
                cos[y] = torch.cos(m * theta) if k == 0 else -torch.ones_like(theta)
            else:
                cos = [c if j == y else torch.cos(torch.acos(c) / m) for j, c in enumerate(cos)]
            if gradient == "straight-through":
                cos = [c + (changed - c).detach() for c, changed in zip(plain, cos, strict=True)]
            total = total - torch.log_softmax(s * torch.stack(cos), 0)[y]
        assert turned == {True, False}, "the input must have targets below and beyond pi / m"
        return total / len(labels)

    return form


@pytest.mark.parametrize("gradient", ["straight-through", "exact"])
@pytest.mark.parametrize("version", ["v0", "v1", "v2"])
@pytest.mark.parametrize(("s", "m"), [(30.0, 1.5), (5.0, 2.0)])
def test_agrees_with_its_formula(agrees, s, m, version, gradient):
    agrees(
        losses.build("sphereface_r", dim=6, classes=4, s=s, m=m, version=version, gradient=gradient),
        naive(version, gradient),
    )


def test_by_hand():
    """theta_y = 60 degrees, m = 1.5: psi = cos 90 = 0; the other cosine is cos 30; s = 2: ln(1 + e^(2 cos 30))."""
    loss = losses.build("sphereface_r", dim=2, classes=2, s=2.0, m=1.5).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    x = torch.tensor([[0.5, math.sqrt(0.75)]], dtype=torch.float64)
    value = loss(x, torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(math.sqrt(3))), rel_tol=1e-9)


GRID = torch.linspace(0.001, math.pi - 0.001, 1001, dtype=torch.float64)


@pytest.mark.parametrize("rule", [falling, clipped])
def test_the_target_never_rises_and_stays_below_cos(rule):
    values = rule(GRID.cos(), torch.tensor(1.5, dtype=torch.float64))
    assert (values.diff() <= 1e-12).all()
    assert (values <= GRID.cos() + 1e-9).all()
    beyond = values[math.pi / 1.5 + 1e-3 < GRID]
    assert torch.allclose(beyond, torch.tensor(-1.0, dtype=torch.float64)) == (rule is clipped)


def test_the_others_rise_where_their_angles_are_divided():
    """v2 by hand: 60 degrees / 1.5 = 40 degrees."""
    m = torch.tensor(1.5, dtype=torch.float64)
    assert (divided(m)(GRID.cos()) > GRID.cos()).all()
    assert math.isclose(divided(m)(torch.tensor(0.5, dtype=torch.float64)), math.cos(math.radians(40)), rel_tol=1e-9)


def test_a_factor_of_1_is_cosface_without_margin_in_all_versions(batch):
    plain = losses.build("cosface", dim=6, classes=4, s=30.0, m=0.0, seed=1).double()(*batch).loss
    for version in ("v0", "v1", "v2"):
        value = losses.build("sphereface_r", dim=6, classes=4, m=1.0, version=version, seed=1).double()(*batch).loss
        torch.testing.assert_close(value, plain, rtol=1e-9, atol=0)
