"""SphereFace-R (v1) against its formula, in both gradients."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.sphereface_r import psi


def naive(loss, embeddings, labels):
    s, m = (float(loss.hyperparameters()[name]) for name in "sm")
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
        own = (s * torch.cos(torch.clamp(m * torch.acos(cos[y]), max=math.pi))).exp()
        if loss.gradient == "straight-through":
            own = (s * (cos[y] + (own.log() / s - cos[y]).detach())).exp()
        others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
        total = total - torch.log(own / (own + others))
    return total / len(labels)


@pytest.mark.parametrize("gradient", ["straight-through", "exact"])
@pytest.mark.parametrize(("s", "m"), [(30.0, 1.5), (5.0, 2.0)])
def test_agrees_with_its_formula(agrees, s, m, gradient):
    agrees(losses.build("sphereface_r", dim=6, classes=4, s=s, m=m, gradient=gradient), naive)


def test_by_hand():
    """theta_y = 60 degrees, m = 1.5: psi = cos 90 = 0; the other cosine is cos 30; s = 2: ln(1 + e^(2 cos 30))."""
    loss = losses.build("sphereface_r", dim=2, classes=2, s=2.0, m=1.5).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    x = torch.tensor([[0.5, math.sqrt(0.75)]], dtype=torch.float64)
    value = loss(x, torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(math.sqrt(3))), rel_tol=1e-9)


def test_it_stops_at_pi():
    theta = torch.linspace(0.0, math.pi, 1001, dtype=torch.float64)
    values = psi(theta.cos(), torch.tensor(1.5, dtype=torch.float64))
    assert (values.diff() <= 1e-12).all()
    assert (values <= theta.cos() + 1e-9).all()
    assert torch.allclose(values[theta > math.pi / 1.5 + 1e-3], torch.tensor(-1.0, dtype=torch.float64))
