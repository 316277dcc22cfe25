"""SphereFace2 against its formula, with each kind of margin, and the closed-form start of its bias."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.sphereface2 import start

MARGIN = {"C": 0.4, "A": 1.1, "M": 1.7}


def naive(kind, gradient):
    def form(loss, embeddings, labels):
        s, m, t, lam, lw = (float(loss.hyperparameters()[name]) for name in ("s", "m", "t", "lam", "lw"))
        total, beyond = 0.0, set()
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            for j, w in enumerate(loss.weight):
                c = (w * x).sum() / (w.norm() * x.norm())
                inside = c
                if j == y and kind != "C":
                    theta = torch.acos(c) + m if kind == "A" else m * torch.acos(c)
                    beyond.add(theta.item() > math.pi)
                    inside = torch.cos(torch.clamp(theta, max=math.pi))
                g = 2 * ((inside + 1) / 2) ** t - 1
                if kind == "C":
                    g = g - m if j == y else g + m
                if gradient == "straight-through":
                    g = c + (g - c).detach()
                z = s * g + loss.bias
                total = total + (lam * torch.log(1 + (-z).exp()) if j == y else (1 - lam) * torch.log(1 + z.exp()))
        assert kind == "C" or beyond == {True, False}, "the input must have targets below and beyond pi"
        return lw / s * total / len(labels)

    return form


@pytest.mark.parametrize("gradient", ["straight-through", "exact"])
@pytest.mark.parametrize("kind", MARGIN)
@pytest.mark.parametrize(("s", "t", "lam"), [(40.0, 3.0, 0.7), (5.0, 1.5, 0.4)])
def test_agrees_with_its_formula(agrees, s, t, lam, kind, gradient):
    given = {"m": MARGIN[kind], "kind": kind, "gradient": gradient}
    agrees(losses.build("sphereface2", dim=6, classes=4, s=s, t=t, lam=lam, **given), naive(kind, gradient))


def test_by_hand():
    """t = 1 makes g = c; c = 0.6 and 0.8, m = 0.1, s = 10, b = -7: z = -2 and 2, lw / s = 1: both ln(1 + e^2)."""
    loss = losses.build("sphereface2", dim=2, classes=2, s=10.0, m=0.1, t=1.0, lam=0.3, lw=10.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
        loss.bias.fill_(-7.0)
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(2)), rel_tol=1e-12)


def test_the_margin_of_each_kind_by_hand():
    """t = 1 makes g = c; c = 0.6 and 0.8, s = 10, b = -7: psi is cos(acos .6 + .5) = .143009 or cos(1.5 acos .6) =
    .178885, and the wrong class is at 10 * 0.8 - 7 = 1.
    """
    for kind, m, own in (("A", 0.5, 0.143009), ("M", 1.5, 0.178885)):
        given = {"s": 10.0, "m": m, "t": 1.0, "lam": 0.5, "lw": 20.0, "kind": kind}
        loss = losses.build("sphereface2", dim=2, classes=2, **given).double()
        with torch.no_grad():
            loss.weight.copy_(torch.eye(2))
            loss.bias.fill_(-7.0)
        value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
        assert math.isclose(value, math.log1p(math.exp(7 - 10 * own)) + math.log1p(math.e), abs_tol=1e-5)


def test_a_factor_below_1_is_refused():
    with pytest.raises(ValueError, match=r"at least 1; given 0\.4"):
        losses.build("sphereface2", dim=2, classes=2, kind="M")


@pytest.mark.parametrize("kind", MARGIN)
@pytest.mark.parametrize("classes", [2, 3, 4, 1000])
def test_the_bias_starts_where_the_loss_of_orthogonal_vectors_is_smallest(classes, kind):
    loss = losses.build("sphereface2", dim=classes + 1, classes=classes, s=5.0, m=MARGIN[kind], kind=kind).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(classes, classes + 1))
    x = torch.zeros(1, classes + 1, dtype=torch.float64)
    x[0, classes] = 1.0
    loss(x, torch.tensor([0])).loss.backward()
    scale = 50 / 5 * 0.7
    assert abs(loss.bias.grad.item()) < 1e-5 * scale
    assert math.isfinite(start(classes, 0.7, -46.0, -14.0))  # s = 40, as by default


def test_the_bias_is_not_decayed():
    loss = losses.build("sphereface2", dim=6, classes=4)
    assert loss.optimizer_options() == {"bias": {"weight_decay": 0.0}}
