"""ArcNegFace against its formula, in both gradients."""

import math

import pytest
import torch

from faceloss import losses


def naive(gradient):
    def form(loss, embeddings, labels):
        s, m, alpha, sigma = (float(loss.hyperparameters()[name]) for name in ("s", "m", "alpha", "sigma"))
        total, branches = 0.0, set()
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            inside = cos[y] > -math.cos(m)
            branches.add(bool(inside))
            own = torch.cos(torch.acos(cos[y]) + m) if inside else cos[y] - m * math.sin(m)
            others = 0.0
            for j, c in enumerate(cos):
                t = alpha * torch.exp(-((c - own) ** 2) / sigma)
                t = t.detach() if gradient == "detached" else t
                others = others + (j != y) * (s * (t * c + t - 1)).exp()
            own = (s * own).exp()
            total = total - torch.log(own / (own + others))
        assert m < 1 or branches == {True, False}, "the input must reach the rule beyond pi"
        return total / len(labels)

    return form


@pytest.mark.parametrize("gradient", ["detached", "exact"])
@pytest.mark.parametrize(("s", "m", "sigma"), [(64.0, 0.5, 2.0), (5.0, 0.5, 0.3), (5.0, 1.0, 0.3)])
def test_agrees_with_its_formula(agrees, s, m, sigma, gradient):
    agrees(losses.build("arcnegface", dim=6, classes=4, s=s, m=m, sigma=sigma, gradient=gradient), naive(gradient))


def test_by_hand():
    """c = 0.6 and 0.8, m = 0: t = 1.2 e^(-0.04/2) = 1.176238, 0.8 counts as 1.8 t - 1 = 1.117229; s = 10."""
    loss = losses.build("arcnegface", dim=2, classes=2, s=10.0, m=0.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(10 * (1.117229 - 0.6))), abs_tol=1e-5)


def test_a_flat_weight_of_1_is_arcface(batch):
    flat = losses.build("arcnegface", dim=6, classes=4, alpha=1.0, sigma=1e12, seed=1).double()(*batch).loss
    arcface = losses.build("arcface", dim=6, classes=4, seed=1).double()(*batch).loss
    torch.testing.assert_close(flat, arcface, rtol=1e-9, atol=0)
