"""CoCo against its formula: the class vectors are the true centroids of the batch."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.remarks import remarks


def naive(loss, embeddings, labels):
    s = float(loss.hyperparameters()["s"])
    centers = {y: embeddings[labels == y].mean(0) for y in set(labels.tolist())}
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = {k: s * (c * x).sum() / (c.norm() * x.norm()) for k, c in centers.items()}
        total = total - torch.log(scores[y].exp() / sum(score.exp() for score in scores.values()))
    return total / len(labels)


@pytest.mark.parametrize("s", [30.0, 3.0])
@pytest.mark.parametrize("classes", [4, 9])
def test_agrees_with_its_formula(agrees, s, classes):
    agrees(losses.build("coco", dim=6, classes=classes, s=s), naive)


def test_by_hand():
    """Identity 0 at (1, 0) twice, identity 1 at (0, 1): each loss is ln(1 + e^-2) at s = 2."""
    loss = losses.build("coco", dim=2, classes=5, s=2.0).double()
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    result = loss(x, torch.tensor([3, 3, 1]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(-2)), rel_tol=1e-12)
    assert result.statistics["accuracy"].item() == 1


def test_it_learns_nothing_of_its_own_and_wants_several_images_of_an_identity():
    loss = losses.build("coco", dim=6, classes=4)
    assert list(loss.parameters()) == []
    assert loss.batches == "identity-balanced"


def test_a_batch_of_one_identity_is_at_rest(batch):
    leaf = batch[0].clone().requires_grad_()
    result = losses.build("coco", dim=6, classes=4).double()(leaf, torch.zeros(12, dtype=torch.int64))
    result.loss.backward()
    assert result.loss.item() == 0
    assert leaf.grad.abs().max() == 0


def test_the_bound_on_alpha():
    """Cosines lie in [-1, 1], so a loss below eps needs s > ln((K-1)/(e^eps - 1)) / 2: no batch gets below it."""
    classes, eps = 4, 0.5
    s = 0.5 * math.log((classes - 1) / (math.exp(eps) - 1))
    loss = losses.build("coco", dim=3, classes=classes, s=s).double()
    simplex = torch.eye(4, dtype=torch.float64) - 0.25  # the best arrangement
    basis = torch.linalg.svd(simplex)[2][:3].T
    value = loss(simplex @ basis, torch.arange(4)).loss.item()
    sharp = math.log1p(3 * math.exp(-s * 4 / 3))
    assert math.isclose(value, sharp, rel_tol=1e-9)
    assert value > eps


@pytest.mark.parametrize(("s", "low", "high"), [(30.0, 0.0, 1e-4), (5.0, 0.5, 1.5)])
def test_why_its_scale_is_small(s, low, high):
    """16 identities of 4 embeddings that have nothing in common: at s = 30 nothing is left to learn."""
    loss = losses.build("coco", dim=64, classes=16, s=s).double()
    embeddings = torch.eye(64, dtype=torch.float64)
    value = loss(embeddings, torch.arange(16).repeat_interleave(4)).loss.item()
    assert math.isclose(value, math.log1p(15 * math.exp(-s / 2)), rel_tol=1e-6)  # own cosine 1/sqrt(4), others 0
    assert low < value < high


def test_its_scale_is_not_held_against_all_classes():
    """Only the identities of a batch compete, so the bound for all of them says nothing."""
    assert remarks(losses.build("coco", dim=8, classes=100_000), 1000) == ()
    assert remarks(losses.build("normface", dim=8, classes=100_000), 1000) == ()
    assert remarks(losses.build("cosface", dim=8, classes=100_000, s=5.0), 1000) != ()
