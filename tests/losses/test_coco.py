"""CoCo against its formula: the class vectors are the true centroids of the batch."""

import math

import pytest
import torch

from faceloss import losses


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
