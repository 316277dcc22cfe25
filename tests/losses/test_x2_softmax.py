"""X2-Softmax against its formula; its numbers have no defaults."""

import math

import pytest
import torch

from faceloss import losses

PARABOLA = {"a": -0.25, "h": -0.4, "k": 1.0}


def naive(gradient):
    def form(loss, embeddings, labels):
        s, a, h, k = (float(loss.hyperparameters()[name]) for name in "sahk")
        total = 0.0
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            own = a * (torch.acos(cos[y]) - h) ** 2 + k
            if gradient == "straight-through":
                own = cos[y] + (own - cos[y]).detach()
            others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
            total = total - torch.log((s * own).exp() / ((s * own).exp() + others))
        return total / len(labels)

    return form


@pytest.mark.parametrize("gradient", ["straight-through", "exact"])
@pytest.mark.parametrize("s", [64.0, 5.0])
def test_agrees_with_its_formula(agrees, s, gradient):
    agrees(losses.build("x2_softmax", dim=6, classes=4, s=s, gradient=gradient, **PARABOLA), naive(gradient))


def test_by_hand():
    """theta_y = 60 degrees, h = -30 degrees: the square is (pi/2)^2; a = -4/pi^2, k = 1: psi = 0 against cos 30."""
    given = {"a": -4 / math.pi**2, "h": -math.pi / 6, "k": 1.0}
    loss = losses.build("x2_softmax", dim=2, classes=2, s=2.0, **given).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    x = torch.tensor([[0.5, math.sqrt(0.75)]], dtype=torch.float64)
    value = loss(x, torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(math.sqrt(3))), rel_tol=1e-9)


@pytest.mark.parametrize("missing", PARABOLA)
def test_what_has_no_default_must_be_given(missing):
    given = {name: value for name, value in PARABOLA.items() if name != missing}
    with pytest.raises(TypeError, match=f"x2_softmax needs a value for '{missing}'"):
        losses.build("x2_softmax", dim=2, classes=2, **given)
