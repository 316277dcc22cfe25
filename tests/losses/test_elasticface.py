"""ElasticFace: the margins drawn, how they are given out, and the formula at given draws."""

import math

import pytest
import torch

from faceloss import losses


def margins(loss, embeddings, labels):
    """The margins of the next training pass, from the key of the pass."""
    m, sd = (float(loss.hyperparameters()[name]) for name in ("m", "sd"))
    noise = torch.randn(len(labels), generator=loss.generator("margins"), dtype=torch.float64)
    drawn = [m + sd * float(number) for number in noise]
    if not loss.psi.ordered:
        return drawn
    cos = [float((w * x).sum() / (w.norm() * x.norm())) for x, w in zip(embeddings, loss.weight[labels], strict=True)]
    rank = {i: place for place, i in enumerate(sorted(range(len(cos)), key=lambda i: cos[i]))}
    falling = sorted(drawn, reverse=True)
    return [falling[rank[i]] for i in range(len(cos))]


def naive(margin):
    def form(loss, embeddings, labels):
        loss.key(0, 0)
        s = float(loss.hyperparameters()["s"])
        total, branches = 0.0, set()
        with torch.no_grad():
            drawn = margins(loss, embeddings, labels)
        for x, y, m in zip(embeddings, labels.tolist(), drawn, strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            own = cos[y] - m
            if margin == "arcface":
                inside = cos[y] > -math.cos(m)
                branches.add(bool(inside))
                own = torch.cos(torch.acos(cos[y]) + m) if inside else cos[y] - m * math.sin(m)
            others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
            total = total - torch.log((s * own).exp() / ((s * own).exp() + others))
        assert len(branches) == 2 or float(loss.hyperparameters()["m"]) < 1, "the input must reach the rule beyond pi"
        return total / len(labels)

    return form


@pytest.mark.parametrize("assign", ["random", "sorted"])
@pytest.mark.parametrize(("margin", "m", "sd"), [("arcface", 0.5, 0.05), ("arcface", 1.0, 0.1), ("cosface", 0.35, 0.3)])
def test_agrees_with_its_formula(agrees, margin, m, sd, assign):
    agrees(losses.build("elasticface", dim=6, classes=4, m=m, sd=sd, margin=margin, assign=assign), naive(margin))


def test_by_hand():
    """Without spread it is CosFace: c = 0.6 and 0.8, m = 0.1, s = 10: ln(1 + e^3)."""
    loss = losses.build("elasticface", dim=2, classes=2, s=10.0, m=0.1, sd=0.0, margin="cosface").double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(3)), rel_tol=1e-12)


def test_in_evaluation_it_is_arcface_and_in_training_it_varies_with_the_key(batch):
    loss = losses.build("elasticface", dim=6, classes=4, seed=1).double()
    plain = losses.build("arcface", dim=6, classes=4, seed=1).double()(*batch).loss
    seen = set()
    for step in (0, 1, 0):
        loss.key(3, step)
        seen.add(loss(*batch).loss.item())
    assert len(seen) == 2
    torch.testing.assert_close(loss.eval()(*batch).loss, plain, rtol=1e-12, atol=0)


def test_the_draws_have_the_mean_and_the_spread_that_were_asked_for():
    loss = losses.build("elasticface", dim=2, classes=2, margin="cosface", m=0.35, sd=0.05)
    cos = torch.zeros(20000, dtype=torch.float64)
    given = -loss.psi(cos, torch.tensor(0.35), torch.tensor(0.05), loss.generator)
    assert abs(given.mean().item() - 0.35) < 5 * 0.05 / 20000**0.5
    assert abs(given.std().item() - 0.05) < 5 * 0.05 / 40000**0.5


def test_sorted_gives_the_larger_margin_to_the_smaller_cosine():
    loss = losses.build("elasticface", dim=2, classes=2, margin="cosface", assign="sorted", sd=0.2)
    cos = torch.tensor([0.3, -0.5, 0.9, 0.1], dtype=torch.float64)
    given = cos - loss.psi(cos, torch.tensor(0.35), torch.tensor(0.2), loss.generator)
    assert given.argsort(descending=True).tolist() == cos.argsort().tolist()
