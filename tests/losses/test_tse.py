"""TSE against its formula."""

import pytest
import torch

from faceloss import losses
from faceloss.losses.mining import random


def naive(mining):
    def form(loss, embeddings, labels):
        alpha, rows = float(loss.hyperparameters()["alpha"]), range(len(labels))
        points = []
        for x in embeddings:
            image = torch.stack([(row * x).sum() for row in loss.project.weight])
            points.append(image / (image * image).sum().sqrt())
        terms, drawn = [], random(torch.zeros(len(labels), len(labels)), labels, loss.generator("mining"))
        keyed = {(a, p): n for a, p, n in zip(*(column.tolist() for column in drawn), strict=True)}
        for a in rows:
            others = [n for n in rows if labels[n] != labels[a]]
            if mining == "hard_negative":
                others = [max(others, key=lambda n: float((points[a] * points[n]).sum().detach()))]
            for p in rows:
                if p != a and labels[p] == labels[a]:
                    own = (points[a] * points[p]).sum()
                    others = [keyed[a, p]] if mining == "random" else others  # the draws of the same key
                    terms += [torch.relu(alpha + (points[a] * points[n]).sum() - own) for n in others]
        active = sum(float(term.detach()) > 0 for term in terms)
        assert active > 0
        assert active < len(terms) or mining == "hard_negative"
        return sum(terms) / len(terms)

    return form


@pytest.mark.parametrize(("size", "alpha"), [(0, 0.1), (3, 0.4)])
@pytest.mark.parametrize("mining", ["hard_negative", "random", "all"])
def test_agrees_with_its_formula(agrees, mining, size, alpha):
    loss = losses.build("tse", dim=6, classes=4, size=size, alpha=alpha, mining=mining).eval()
    loss.key(5, 9)
    agrees(loss, naive(mining))


def test_by_hand():
    """a = (1, 0), p = (0, 1), n = (-1, 0), alpha = .3: a.n - a.p = -1 rests, p.n - p.a = 0 costs .3; mean .15."""
    loss = losses.build("tse", dim=3, classes=2, size=2, alpha=0.3)
    with torch.no_grad():
        loss.project.weight.copy_(torch.tensor([[2.0, 0, 0], [0, 1, 0]]))
    x = torch.tensor([[1.0, 0, 5], [0, 3, -5], [-4, 0, 1]], dtype=torch.float64)
    result = loss(x, torch.tensor([0, 0, 1]))
    assert result.loss.item() == pytest.approx(0.15)
    assert result.statistics["active"].item() == 0.5
    assert result.statistics["target_angle"].item() == pytest.approx(90)  # of the projected faces
    assert result.statistics["norm"].item() == pytest.approx((26**0.5 + 34**0.5 + 17**0.5) / 3)  # of those given


def test_without_a_projection_it_is_half_a_triplet_loss(batch):
    """W = identity: d = 1 - cos is half of the squared distance, so alpha / 2 gives half of the triplet loss."""
    tse = losses.build("tse", dim=6, classes=4, alpha=0.1, mining="all")
    with torch.no_grad():
        tse.project.weight.copy_(torch.eye(6))
    triplet = losses.build("triplet", dim=6, classes=4, alpha=0.2, mining="all", reduction="mean")
    value = tse(*batch).loss.item()
    assert value == pytest.approx(triplet(*batch).loss.item() / 2)
    assert value > 0.01


def test_alpha_must_be_given():
    with pytest.raises(TypeError, match="tse needs a value for 'alpha': no default is known"):
        losses.build("tse", dim=6, classes=4)
    assert losses.describe("tse").hyperparameters["alpha"] == ("float", None, ())
    with pytest.raises(ValueError, match="alpha must be of type float; given 'x'"):
        losses.build("tse", dim=6, classes=4, alpha="x")
    with pytest.raises(ValueError, match="alpha must be"):
        losses.build("tse", dim=6, classes=4, alpha=2.1)
