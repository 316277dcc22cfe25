"""MV-Softmax against its formula, with both margins."""

import math

import pytest
import torch

from faceloss import losses


def naive(margin):
    def form(loss, embeddings, labels):
        s, m, t = (float(loss.hyperparameters()[name]) for name in "smt")
        total, raised, branches = 0.0, 0, set()
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            own = cos[y] - m
            if margin == "arcface":
                inside = cos[y] > -math.cos(m)
                branches.add(bool(inside))
                own = torch.cos(torch.acos(cos[y]) + m) if inside else cos[y] - m * math.sin(m)
            others = [(t + 1) * c + t if c > own else c for j, c in enumerate(cos) if j != y]
            raised += sum(bool(c > own) for j, c in enumerate(cos) if j != y)
            own = (s * own).exp()
            total = total - torch.log(own / (own + sum((s * c).exp() for c in others)))
        assert len(branches) == 2 or m < 1, "the input must reach the rule beyond pi"
        assert 0 < raised < 3 * len(labels), "the input must have misclassified and other classes"
        return total / len(labels)

    return form


@pytest.mark.parametrize(("margin", "m"), [("cosface", 0.35), ("arcface", 0.5), ("arcface", 1.0)])
@pytest.mark.parametrize(("s", "t"), [(32.0, 0.2), (5.0, 0.7)])
def test_agrees_with_its_formula(agrees, s, t, margin, m):
    agrees(losses.build("mv_softmax", dim=6, classes=4, s=s, m=m, t=t, margin=margin), naive(margin))


def test_by_hand():
    """c = 0.6 and 0.8, m = 0.1: 0.8 > 0.5, so it counts as 1.2 * 0.8 + 0.2 = 1.16; s = 10: ln(1 + e^6.6)."""
    loss = losses.build("mv_softmax", dim=2, classes=2, s=10.0, m=0.1).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    result = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(6.6)), rel_tol=1e-12)
    assert math.isclose(result.statistics["cross_entropy"].item(), math.log1p(math.exp(2)), rel_tol=1e-12)


@pytest.mark.parametrize(("margin", "m"), [("cosface", 0.35), ("arcface", 0.5)])
def test_without_weight_it_is_its_margin_and_with_it_more(batch, margin, m):
    plain = losses.build(margin, dim=6, classes=4, s=32.0, m=m, seed=1).double()(*batch).loss
    same = losses.build("mv_softmax", dim=6, classes=4, m=m, t=0.0, margin=margin, seed=1).double()(*batch).loss
    more = losses.build("mv_softmax", dim=6, classes=4, m=m, margin=margin, seed=1).double()(*batch).loss
    torch.testing.assert_close(same, plain, rtol=1e-12, atol=0)
    assert more > plain + 0.1
