"""CosFace against its formula and the identities that it obeys."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    s, m = (float(loss.hyperparameters()[name]) for name in "sm")
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
        others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
        own = (s * (cos[y] - m)).exp()
        total = total - torch.log(own / (own + others))
    return total / len(labels)


@pytest.mark.parametrize(("s", "m"), [(64.0, 0.35), (30.0, 0.35), (4.0, 0.0), (4.0, 0.1)])
def test_agrees_with_its_formula(agrees, s, m):
    agrees(losses.build("cosface", dim=6, classes=4, s=s, m=m), naive)


def test_by_hand():
    """c_y = 0.6, the other cosine 0.8, s = 10, m = 0.1: loss = ln(1 + e^(8 - 5))."""
    loss = losses.build("cosface", dim=2, classes=2, s=10.0, m=0.1).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    result = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(3.0)), rel_tol=1e-12)
    assert math.isclose(result.statistics["cross_entropy"].item(), math.log1p(math.exp(2.0)), rel_tol=1e-12)
    assert math.isclose(result.statistics["nats"].item(), 1.0, rel_tol=1e-12)
    assert math.isclose(result.statistics["target_angle"].item(), math.degrees(math.acos(0.6)), rel_tol=1e-12)
    assert result.statistics["accuracy"].item() == 0


@pytest.mark.parametrize("a", [-1.0, -100.0, -1e4])
def test_equals_the_modulated_probability(batch, a):
    """m = ln(1 - a)/s is the loss -log(h p) with h = 1/(a p + 1 - a), in value and gradient (ICML 2020)."""
    embeddings, labels = batch
    s = 8.0
    loss = losses.build("cosface", dim=6, classes=4, s=s, m=math.log(1 - a) / s).double()
    values, gradients = [], []
    for form in ("margin", "modulated"):
        leaf = embeddings.clone().requires_grad_()
        if form == "margin":
            value = loss(leaf, labels).loss
        else:
            normalize = torch.nn.functional.normalize
            p = (s * normalize(leaf) @ normalize(loss.weight).T).softmax(1)[torch.arange(len(labels)), labels]
            value = -(p / (a * p + 1 - a)).log().mean()
        values.append(value)
        gradients.append(torch.autograd.grad(value, leaf)[0])
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(values[0], values[1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-10)


def test_without_margin_it_is_normface(batch):
    embeddings, labels = batch
    plain = losses.build("cosface", dim=6, classes=4, s=7.0, m=0.0, seed=1).double()
    norm = losses.build("normface", dim=6, classes=4, s=7.0, seed=1).double()
    torch.testing.assert_close(plain(embeddings, labels).loss, norm(embeddings, labels).loss, rtol=1e-6, atol=0)


def test_the_norm_of_embeddings_and_class_vectors_is_irrelevant(batch):
    embeddings, labels = batch
    loss = losses.build("cosface", dim=6, classes=4).double()
    before = loss(embeddings, labels).loss
    with torch.no_grad():
        loss.weight.mul_(torch.tensor([[0.1], [2.0], [30.0], [4.0]]))
    torch.testing.assert_close(loss(17 * embeddings, labels).loss, before, rtol=1e-10, atol=0)
