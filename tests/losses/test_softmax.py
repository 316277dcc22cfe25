"""Softmax against a value worked by hand, the loops of its formula, and torch."""

import math

import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = [(w * x).sum() + b for w, b in zip(loss.weight, loss.bias, strict=True)]
        total = total - torch.log(scores[y].exp() / sum(score.exp() for score in scores))
    return total / len(labels)


def test_agrees_with_its_formula(agrees):
    loss = losses.build("softmax", dim=6, classes=4)
    with torch.no_grad():
        loss.bias += torch.tensor([0.3, -0.2, 0.1, 0.7])
    agrees(loss, naive)


def test_by_hand():
    """w_0 = (1,0), w_1 = (0,1), b = 0, x = (ln 3, 0), y = 0: exp(z) = 3 and 1, loss = ln(4/3); y = 1: ln 4."""
    loss = losses.build("softmax", dim=2, classes=2)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    x = torch.tensor([[math.log(3.0), 0.0]])
    for label, expected in ((0, math.log(4 / 3)), (1, math.log(4))):
        result = loss(x, torch.tensor([label]))
        assert math.isclose(result.loss.item(), expected, rel_tol=1e-6)
        assert result.statistics["accuracy"].item() == (label == 0)
        assert math.isclose(result.statistics["target_angle"].item(), 90.0 * label, abs_tol=1e-3)


def test_equals_torch(batch):
    embeddings, labels = batch
    loss = losses.build("softmax", dim=6, classes=4).double()
    logits = torch.nn.functional.linear(embeddings, loss.weight, loss.bias)
    result = loss(embeddings, labels)
    torch.testing.assert_close(result.loss, torch.nn.functional.cross_entropy(logits, labels))
    torch.testing.assert_close(result.statistics["cross_entropy"], result.loss.detach())
    assert result.statistics["accuracy"].item() == (logits.argmax(1) == labels).double().mean().item()
    assert result.statistics["nats"].item() == 0


def test_a_zero_embedding_still_learns():
    """x = 0 has no direction, but the plain classifier pulls it along W^T (p - y) all the same."""
    loss = losses.build("softmax", dim=6, classes=4)
    x = torch.zeros(1, 6, requires_grad=True)
    loss(x, torch.tensor([2])).loss.backward()
    torch.testing.assert_close(x.grad[0], loss.weight.detach().mean(0) - loss.weight.detach()[2])
