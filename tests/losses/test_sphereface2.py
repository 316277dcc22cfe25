"""SphereFace2 against its formula, and the closed-form start of its bias."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.sphereface2 import start


def naive(loss, embeddings, labels):
    s, m, t, lam, lw = (float(loss.hyperparameters()[name]) for name in ("s", "m", "t", "lam", "lw"))
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        for j, w in enumerate(loss.weight):
            c = (w * x).sum() / (w.norm() * x.norm())
            g = 2 * ((c + 1) / 2) ** t - 1
            g = g - m if j == y else g + m
            if loss.gradient == "straight-through":
                g = c + (g - c).detach()
            z = s * g + loss.bias
            total = total + (lam * torch.log(1 + (-z).exp()) if j == y else (1 - lam) * torch.log(1 + z.exp()))
    return lw / s * total / len(labels)


@pytest.mark.parametrize("gradient", ["straight-through", "exact"])
@pytest.mark.parametrize(("s", "t", "lam"), [(40.0, 3.0, 0.7), (5.0, 1.5, 0.4)])
def test_agrees_with_its_formula(agrees, s, t, lam, gradient):
    agrees(losses.build("sphereface2", dim=6, classes=4, s=s, t=t, lam=lam, gradient=gradient), naive)


def test_by_hand():
    """t = 1 makes g = c; c = 0.6 and 0.8, m = 0.1, s = 10, b = -7: z = -2 and 2, lw / s = 1: both ln(1 + e^2)."""
    loss = losses.build("sphereface2", dim=2, classes=2, s=10.0, m=0.1, t=1.0, lam=0.3, lw=10.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
        loss.bias.fill_(-7.0)
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(2)), rel_tol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 4, 1000])
def test_the_bias_starts_where_the_loss_of_orthogonal_vectors_is_smallest(classes):
    loss = losses.build("sphereface2", dim=classes + 1, classes=classes, s=5.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(classes, classes + 1))
    x = torch.zeros(1, classes + 1, dtype=torch.float64)
    x[0, classes] = 1.0
    loss(x, torch.tensor([0])).loss.backward()
    scale = 50 / 5 * 0.7
    assert abs(loss.bias.grad.item()) < 1e-5 * scale
    assert math.isfinite(start(classes, 40.0, 0.4, 3.0, 0.7))


def test_the_bias_is_not_decayed():
    loss = losses.build("sphereface2", dim=6, classes=4)
    assert loss.optimizer_options() == {"bias": {"weight_decay": 0.0}}
