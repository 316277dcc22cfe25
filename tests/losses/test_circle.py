"""Circle loss with class vectors against its formula, in both gradients."""

import math

import pytest
import torch

from faceloss import losses


def naive(gradient):
    def form(loss, embeddings, labels):
        s, m = (float(loss.hyperparameters()[name]) for name in "sm")
        total, at_rest = 0.0, set()
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            logits = []
            for j, w in enumerate(loss.weight):
                c = (w * x).sum() / (w.norm() * x.norm())
                weight = torch.relu(1 + m - c) if j == y else torch.relu(c + m)
                at_rest |= {bool(weight == 0)} if j != y else set()
                weight = weight.detach() if gradient == "detached" else weight
                logits.append(s * weight * (c - (1 - m) if j == y else c - m))
            total = total - torch.log_softmax(torch.stack(logits), 0)[y]
        assert at_rest == {True, False}, "the input must have wrong classes that count and some that do not"
        return total / len(labels)

    return form


@pytest.mark.parametrize("gradient", ["detached", "exact"])
@pytest.mark.parametrize(("s", "m"), [(256.0, 0.25), (4.0, 0.4)])
def test_agrees_with_its_formula(agrees, s, m, gradient):
    agrees(losses.build("circle", dim=6, classes=4, s=s, m=m, gradient=gradient), naive(gradient))


def test_by_hand():
    """c = 0.6 and 0.8, m = 0.25, s = 10: 0.65 * -0.15 = -0.0975 and 1.05 * 0.55 = 0.5775: ln(1 + e^6.75)."""
    loss = losses.build("circle", dim=2, classes=2, s=10.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(6.75)), rel_tol=1e-12)


def test_a_wrong_class_beyond_minus_m_counts_as_nothing(batch):
    """At c_j < -m the weight is 0: the logit is 0 whatever c_j is."""
    loss = losses.build("circle", dim=2, classes=2, s=10.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    values = []
    for degrees in (0.0, 30.0):
        at = math.radians(degrees)
        x = torch.tensor([[math.cos(at), math.sin(at)]], dtype=torch.float64)
        own = 10 * (1.25 - math.cos(at)) * (math.cos(at) - 0.75)
        values.append(math.isclose(loss(x, torch.tensor([0])).loss.item(), math.log1p(math.exp(-own)), rel_tol=1e-9))
    assert values == [True, True]
