"""The combined margin against its formula, and the losses it contains."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.combined import continuous, none

GRID = torch.linspace(0.001, math.pi - 0.001, 2001, dtype=torch.float64)


def naive(beyond_pi, gradient):
    def form(loss, embeddings, labels):
        s, m1, m2, m3 = (float(loss.hyperparameters()[name]) for name in ("s", "m1", "m2", "m3"))
        total = 0.0
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            turned = m1 * torch.acos(cos[y]) + m2
            k = int(turned.item() // math.pi) if beyond_pi == "continuous" else 0
            own = (-1) ** k * torch.cos(turned) - 2 * k - m3
            own = (s * (cos[y] + (own - cos[y]).detach() if gradient == "straight-through" else own)).exp()
            others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
            total = total - torch.log(own / (own + others))
        return total / len(labels)

    return form


@pytest.mark.parametrize("beyond_pi", ["continuous", "none"])
@pytest.mark.parametrize(("s", "m1", "m2", "m3"), [(64.0, 1.0, 0.3, 0.2), (8.0, 0.9, 0.4, 0.15), (4.0, 2.5, 0.2, 0.1)])
@pytest.mark.parametrize("gradient", ["exact", "straight-through"])
def test_agrees_with_its_formula(agrees, batch, s, m1, m2, m3, beyond_pi, gradient):
    given = {"m1": m1, "m2": m2, "m3": m3, "beyond_pi": beyond_pi, "gradient": gradient}
    loss = losses.build("combined", dim=6, classes=4, s=s, **given)
    if m1 == 2.5:  # the input must reach the rule, and the turn after it
        cos = torch.nn.functional.normalize(batch[0]) @ torch.nn.functional.normalize(loss.weight.double()).T
        turns = ((m1 * torch.acos(cos[torch.arange(12), batch[1]]) + m2) / math.pi).floor()
        assert len(set(turns.tolist())) > 1
    agrees(loss, naive(beyond_pi, gradient))


def test_by_hand():
    """cos(acos 0.6 + 0.3) - 0.2 = 0.6 cos 0.3 - 0.8 sin 0.3 - 0.2 = 0.136786, at s = 10 against 0.8."""
    loss = losses.build("combined", dim=2, classes=2, s=10.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    result = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(10 * (0.8 - 0.136786))), abs_tol=1e-5)


@pytest.mark.parametrize(
    ("triple", "name", "more"),
    [
        ((1.0, 0.5, 0.0), "arcface", {"m": 0.5, "beyond_pi": "continuous"}),
        ((1.0, 0.0, 0.35), "cosface", {"m": 0.35}),
        ((1.0, 0.0, 0.0), "cosface", {"m": 0.0}),
    ],
)
def test_equals_the_others_on_their_ground(batch, triple, name, more):
    embeddings, labels = batch
    grads = []
    for loss in (
        losses.build("combined", dim=6, classes=4, **dict(zip(("m1", "m2", "m3"), triple, strict=True)), seed=2),
        losses.build(name, dim=6, classes=4, **more, seed=2),
    ):
        leaf = embeddings.clone().requires_grad_()
        value = loss.double()(leaf, labels).loss
        grads.append((value, torch.autograd.grad(value, leaf)[0]))
    assert grads[0][1].abs().max() > 1e-3
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "triple", [(1.0, 0.3, 0.2), (1.0, 0.5, 0.0), (1.2, 0.4, 0.0), (1.1, 0.0, 0.35), (4.0, 0.0, 0.0)]
)
def test_the_continuation_falls_and_stays_below_cos(triple):
    margins = [torch.tensor(m, dtype=torch.float64) for m in triple]
    values = continuous(GRID.cos(), *margins)
    assert (values.diff() < 0).all()
    assert values.diff().abs().max() < 0.02, "a jump"
    assert (values <= GRID.cos() + 1e-12).all()
    bare = none(GRID.cos(), *margins)
    assert triple[1] == 0.0 == triple[0] - 1.1 or not (bare.diff() < 0).all(), "without a rule it must turn up again"
