"""V-Softmax against its formula, and its floor of ln 2."""

import math

import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = [(w * x).sum().exp() for w in loss.weight]
        virtual = (loss.weight[y].norm() * x.norm()).exp()
        total = total - torch.log(scores[y] / (sum(scores) + virtual))
    return total / len(labels)


def test_agrees_with_its_formula(agrees):
    agrees(losses.build("vsoftmax", dim=6, classes=4), naive)


def test_by_hand():
    """w = (2, 0), (0, 1), x = (3, 4): logits 6 and 4, the virtual one 2 * 5 = 10: loss = ln(1 + e^-2 + e^4)."""
    loss = losses.build("vsoftmax", dim=2, classes=2).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    result = loss(torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log(1 + math.exp(-2) + math.exp(4)), rel_tol=1e-12)
    assert math.isclose(result.statistics["cross_entropy"].item(), math.log1p(math.exp(-2)), rel_tol=1e-12)
    assert result.statistics["accuracy"].item() == 1, "the virtual class does not count in the accuracy"


def test_never_below_ln_2():
    generator = torch.Generator().manual_seed(0)
    loss = losses.build("vsoftmax", dim=6, classes=4).double()
    x = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (200,), generator=generator)
    values = [loss(row.unsqueeze(0), label.unsqueeze(0)).loss.item() for row, label in zip(x, labels, strict=True)]
    assert min(values) > math.log(2)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(4, 6))
    best = loss(50 * loss.weight.detach()[:1], torch.tensor([0])).loss.item()  # on the class vector and far out
    assert math.log(2) <= best < math.log(2) + 1e-3
