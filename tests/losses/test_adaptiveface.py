"""AdaptiveFace against its formula."""

import math

import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    s, lam = (float(loss.hyperparameters()[name]) for name in ("s", "lam"))
    head = loss.terms["adaptive"]
    margins = 1 / (1 + torch.exp(-head.psi.raw))
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = [(w * x).sum() / (w.norm() * x.norm()) for w in head.weight]
        others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
        own = (s * (cos[y] - margins[y])).exp()
        total = total - torch.log(own / (own + others))
    return total / len(labels) + lam * (1 - sum(margins) / len(margins))


def spread(loss):
    with torch.no_grad():
        loss.terms["adaptive"].psi.raw.copy_(torch.tensor([-1.0, 0.0, 0.5, -0.3]))
    return loss


def test_agrees_with_its_formula(agrees):
    agrees(spread(losses.build("adaptiveface", dim=6, classes=4)), naive)
    agrees(spread(losses.build("adaptiveface", dim=6, classes=4, s=5.0, lam=0.5)), naive)


def test_by_hand():
    """c = 0.6 and 0.8, m_0 = 0.5, m_1 = 0.25, s = 10, lam = 2: ln(1 + e^(8 - 1)) + 2 (1 - 0.375)."""
    loss = losses.build("adaptiveface", dim=2, classes=2, s=10.0, lam=2.0).double()
    head = loss.terms["adaptive"]
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
        head.psi.raw.copy_(torch.tensor([0.0, math.log(1 / 3)]))
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(7)) + 1.25, rel_tol=1e-7)


def test_it_starts_as_cosface_and_each_margin_belongs_to_its_identity(batch):
    embeddings, labels = batch
    loss = losses.build("adaptiveface", dim=6, classes=4, seed=1).double()
    cosface = losses.build("cosface", dim=6, classes=4, s=30.0, m=0.35, seed=1).double()
    value = loss(embeddings, labels).loss - 70 * 0.65
    torch.testing.assert_close(value, cosface(embeddings, labels).loss, rtol=1e-6, atol=1e-5)
    only = labels == 2
    loss.terms["adaptive"](embeddings[only], labels[only]).loss.backward()
    assert (loss.terms["adaptive"].psi.raw.grad != 0).tolist() == [False, False, True, False]


def test_the_margins_are_saved_and_trained_once():
    loss = losses.build("adaptiveface", dim=6, classes=4)
    assert sum(name.endswith("raw") for name in loss.state_dict()) == 1
    assert sum(parameter.shape == (4,) for parameter in loss.parameters()) == 1
