"""L2-Softmax against its formula; its radius, fixed and learnt."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    alpha = float(loss.hyperparameters()["s"]) if "s" in loss.hyperparameters() else 0.01 + loss.log_scale.exp()
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        f = alpha * x / x.norm()
        scores = [(w * f).sum() + b for w, b in zip(loss.weight, loss.bias, strict=True)]
        total = total - torch.log(scores[y].exp() / sum(score.exp() for score in scores))
    return total / len(labels)


@pytest.mark.parametrize("radius", ["fixed", "learnt"])
@pytest.mark.parametrize("s", [16.0, 3.0])
def test_agrees_with_its_formula(agrees, s, radius):
    loss = losses.build("l2_softmax", dim=6, classes=4, s=s, radius=radius)
    with torch.no_grad():
        loss.bias.copy_(torch.tensor([0.1, -0.4, 0.3, 0.0]))
    agrees(loss, naive)


def test_by_hand():
    """x = (0, 9) on the sphere of radius 2 is (0, 2); w = (1, 1), (0, -1), no bias: loss = ln(1 + e^(-2 - 2))."""
    loss = losses.build("l2_softmax", dim=2, classes=2, s=2.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, -1.0]]))
    result = loss(torch.tensor([[0.0, 9.0]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(-4)), rel_tol=1e-12)
    assert result.statistics["scale"].item() == 2.0


def test_only_the_norm_of_the_class_vectors_matters(batch):
    embeddings, labels = batch
    loss = losses.build("l2_softmax", dim=6, classes=4).double()
    before = loss(embeddings, labels).loss
    torch.testing.assert_close(loss(17 * embeddings, labels).loss, before, rtol=1e-12, atol=0)
    with torch.no_grad():
        loss.weight.mul_(2)
    assert abs(loss(embeddings, labels).loss - before) > 0.1


def test_the_probability_at_the_lower_bound_of_alpha():
    """One class opposite, the others orthogonal: at alpha = ln(p (K-2)/(1-p)) the target has probability p, nearly."""
    p, classes = 0.9, 100
    alpha = math.log(p * (classes - 2) / (1 - p))
    assert math.isclose(alpha, 6.78, abs_tol=5e-3)
    loss = losses.build("l2_softmax", dim=100, classes=classes, s=alpha).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(100))
        loss.weight[1] = -loss.weight[0]
    x = loss.weight[:1].detach()
    assert math.isclose(math.exp(-loss(x, torch.tensor([0])).loss.item()), p, abs_tol=2e-6)


def test_the_learnt_radius_is_no_hyperparameter_and_is_not_decayed():
    loss = losses.build("l2_softmax", dim=6, classes=4, radius="learnt")
    assert loss.optimizer_options() == {"log_scale": {"weight_decay": 0.0}}
    assert "s" not in loss.hyperparameters()
