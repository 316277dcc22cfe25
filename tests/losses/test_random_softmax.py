"""Random-Softmax at a given a: the modulated probability, which is CosFace with m = ln(1 - a)/s."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    s, a = (float(loss.hyperparameters()[name]) for name in "sa")
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = [(s * (w * x).sum() / (w.norm() * x.norm())).exp() for w in loss.weight]
        p = scores[y] / sum(scores)
        h = 1 / (a * p + 1 - a)
        assert 0 < h <= 1
        total = total - torch.log(h * p)
    return total / len(labels)


@pytest.mark.parametrize(("s", "a"), [(32.0, -10000.0), (8.0, -1.0), (8.0, -100.0), (8.0, 0.0)])
def test_agrees_with_its_formula(agrees, s, a):
    agrees(losses.build("random_softmax", dim=6, classes=4, s=s, a=a), naive, tolerance=1e-9)


@pytest.mark.parametrize("a", [-1.0, -100.0, -1e4, -1e6])
def test_equals_cosface(batch, a):
    embeddings, labels = batch
    results = []
    for name, more in (("random_softmax", {"a": a}), ("cosface", {"m": math.log1p(-a) / 32})):
        loss = losses.build(name, dim=6, classes=4, s=32.0, seed=1, **more).double()
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels).loss
        results.append((value, *torch.autograd.grad(value, [leaf, loss.weight])))
    assert results[0][1].abs().max() > 1e-3
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)


def test_by_hand():
    """c = 0.6 and 0.8 at s = 10, 1 - a = e: one nat is taken: loss = ln(1 + e^(8 - 5))."""
    loss = losses.build("random_softmax", dim=2, classes=2, s=10.0, a=1 - math.e).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    result = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(3)), rel_tol=1e-12)
    assert math.isclose(result.statistics["nats"].item(), 1.0, rel_tol=1e-12)


def test_a_hopeless_sample_at_a_large_scale_is_finite_in_float32():
    loss = losses.build("random_softmax", dim=2, classes=2, s=64.0)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    value = loss(torch.tensor([[-1.0, 0.0]]), torch.tensor([0])).loss.item()
    assert math.isclose(value, 128 + math.log1p(1e4), rel_tol=1e-6)


def test_the_normalized_gradient_takes_the_length_that_the_margin_adds_out_of_the_gradient(batch):
    """The gradient is the plain one over the mean of w = (1 - a) / (a p + 1 - a)."""
    embeddings, labels = batch
    gradients = {}
    for gradient in ("exact", "normalized"):
        loss = losses.build("random_softmax", dim=6, classes=4, s=4.0, a=-5.0, seed=1, gradient=gradient).double()
        leaf = embeddings.clone().requires_grad_()
        (gradients[gradient],) = torch.autograd.grad(loss(leaf, labels).loss, leaf)
    plain = losses.build("random_softmax", dim=6, classes=4, s=4.0, a=0.0, seed=1).double()
    leaf = embeddings.clone().requires_grad_()
    cos = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(plain.weight).T
    p = (4 * cos).softmax(1)[torch.arange(len(labels)), labels].detach()
    w = 6 / (-5 * p + 6)
    assert 1.1 < float(w.mean()) < 5
    torch.testing.assert_close(gradients["normalized"] * w.mean(), gradients["exact"], rtol=1e-9, atol=1e-12)
    each = torch.autograd.grad(plain(leaf, labels).loss, leaf)[0] * w[:, None]  # softmax's gradient, times w
    torch.testing.assert_close(each, gradients["exact"], rtol=1e-9, atol=1e-12)


def test_a_above_0_is_refused_because_it_would_raise_the_probability():
    with pytest.raises(ValueError, match="a must be a finite number at most 0"):
        losses.build("random_softmax", dim=6, classes=4, a=0.5)
