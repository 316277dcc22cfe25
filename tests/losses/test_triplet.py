"""The triplet loss against its formula for each way of mining."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.mining import random as mining_random


def squared(x, y):
    return ((x / x.norm() - y / y.norm()) ** 2).sum()


def naive(mining, reduction):
    """Every triplet by loops; the miners' choices by sorting, as their definitions read."""

    def form(loss, embeddings, labels):
        alpha = float(loss.hyperparameters()["alpha"])
        rows = range(len(labels))
        d = [[squared(embeddings[i], embeddings[j]) if i != j else None for j in rows] for i in rows]
        pairs = [(a, p) for a in rows for p in rows if a != p and labels[a] == labels[p]]
        negatives = {a: [n for n in rows if labels[n] != labels[a]] for a in rows}
        if mining == "random":  # the draws of the same key
            drawn = mining_random(torch.zeros(len(labels), len(labels)), labels, loss.generator("mining"))
            chosen = list(zip(*(column.tolist() for column in drawn), strict=True))
            assert [(a, p) for a, p, _ in chosen] == pairs
            assert all(n in negatives[a] for a, _, n in chosen)
        elif mining == "all":
            chosen = [(a, p, n) for a, p in pairs for n in negatives[a]]
        elif mining == "all_semi_hard":
            chosen = [(a, p, n) for a, p in pairs for n in negatives[a] if d[a][n] > d[a][p]]
        elif mining in ("hard", "easy"):
            chosen, pick = [], max if mining == "hard" else min
            for a in rows:
                p = pick((p for b, p in pairs if a == b), key=lambda p: d[a][p].item())
                chosen.append((a, p, min(negatives[a], key=lambda n: d[a][n].item())))
        else:
            chosen = []
            for a, p in pairs:
                farther = [n for n in negatives[a] if d[a][n] > d[a][p]]
                n = min(farther, key=lambda n: d[a][n]) if farther else max(negatives[a], key=lambda n: d[a][n])
                chosen.append((a, p, n))
        terms = [torch.relu(d[a][p] - d[a][n] + alpha) for a, p, n in chosen]
        active = sum(float(term.detach()) > 0 for term in terms)
        assert active > 0
        assert active < len(terms) or mining in ("hard", "easy")  # else "mean" and "active" cannot be told apart
        return sum(terms) / (active if reduction == "active" else len(terms))

    return form


@pytest.mark.parametrize("reduction", ["active", "mean"])
@pytest.mark.parametrize("mining", ["semi_hard", "hard", "easy", "random", "all", "all_semi_hard"])
def test_agrees_with_its_formula(agrees, mining, reduction):
    loss = losses.build("triplet", dim=6, classes=4, mining=mining, reduction=reduction).eval()
    loss.key(5, 9)
    agrees(loss, naive(mining, reduction))


def by_angle(*degrees):
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_by_hand():
    """Identity 0 at 0 and 60 degrees (d = 1), identity 1 at 90: d = 2 from the first, 2 - sqrt 3 from the second.

    alpha = 0.2: (0, 60 | 90) gives max(0, 1 - 2 + .2) = 0, (60, 0 | 90) gives 1 - (2 - sqrt 3) + .2 = sqrt 3 - .8.
    """
    x, y = by_angle(0, 60, 90), torch.tensor([0, 0, 1])
    for reduction, active in (("active", 1), ("mean", 2)):
        result = losses.build("triplet", dim=2, classes=2, mining="all", reduction=reduction)(x, y)
        assert math.isclose(result.loss.item(), (math.sqrt(3) - 0.8) / active, rel_tol=1e-9)
        assert result.statistics["active"].item() == 0.5
        assert math.isclose(result.statistics["target_angle"].item(), 60.0, rel_tol=1e-6)
        assert math.isclose(result.statistics["positive_distance"].item(), 1.0, rel_tol=1e-9)
        assert math.isclose(result.statistics["negative_distance"].item(), (4 - math.sqrt(3)) / 2, rel_tol=1e-9)
        assert math.isclose(result.statistics["accuracy"].item(), 1 / 3, rel_tol=1e-9)


@pytest.mark.parametrize("mining", ["semi_hard", "hard", "easy", "random", "all", "all_semi_hard"])
def test_a_batch_without_triplets_gives_zero_with_zero_gradient(mining, batch):
    embeddings = batch[0][:4].clone().requires_grad_()
    for labels in (torch.arange(4), torch.zeros(4, dtype=torch.int64)):
        result = losses.build("triplet", dim=6, classes=4, mining=mining)(embeddings, labels)
        result.loss.backward()
        assert result.loss.item() == 0
        assert embeddings.grad.abs().max() == 0


def test_easy_positives_are_never_dearer_than_hard_ones(batch):
    """The same negatives, closer positives: anchors with one positive only make no difference, the others do."""
    hard, easy = (losses.build("triplet", dim=6, classes=4, mining=m, reduction="mean") for m in ("hard", "easy"))
    assert 0 < easy(*batch).loss.item() < hard(*batch).loss.item() - 0.01


def test_a_collapsed_batch_gives_alpha():
    """All embeddings equal: loss = alpha and all distances 0, the signature of collapse; gradients stay finite."""
    x = torch.ones(8, 6, requires_grad=True)
    result = losses.build("triplet", dim=6, classes=4)(x, torch.arange(8) % 4)
    result.loss.backward()
    assert math.isclose(result.loss.item(), 0.2, rel_tol=1e-6)
    assert result.statistics["negative_distance"].item() == 0
    assert torch.isfinite(x.grad).all()


def test_random_mining_is_all_triplets_on_average(batch):
    """Averaged over keys, the mean over drawn negatives is the mean over pairs of the mean over their negatives."""
    embeddings, labels = batch
    embeddings, labels = embeddings[:8], labels[:8]
    loss = losses.build("triplet", dim=6, classes=4, mining="random", reduction="mean").double()
    rows = range(8)
    pairs = [(a, p) for a in rows for p in rows if a != p and labels[a] == labels[p]]
    means = []
    for a, p in pairs:
        others = [n for n in rows if labels[n] != labels[a]]
        x = embeddings
        gaps = [torch.relu(squared(x[a], x[p]) - squared(x[a], x[n]) + 0.2) for n in others]
        means.append(float(sum(gaps)) / len(gaps))
    expected = sum(means) / len(means)
    drawn = []
    for step in range(400):
        loss.key(0, step)
        drawn.append(loss(embeddings, labels).loss.item())
    drawn = torch.tensor(drawn)
    assert drawn.std() > 0.01
    assert abs(drawn.mean() - expected) < 4 * drawn.std() / 20


@pytest.mark.parametrize("alpha", [-0.1, 4.1, math.nan])
def test_an_impossible_margin_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha must be"):
        losses.build("triplet", dim=6, classes=4, alpha=alpha)
