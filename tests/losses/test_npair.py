"""The N-pair loss against its formula and against cross entropy with diagonal targets (T15)."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.mining import one_pair_each


def drawn(loss, embeddings, labels):
    pairs = one_pair_each(torch.zeros(len(labels), len(labels)), labels, loss.generator("mining"))
    return embeddings[pairs.first], embeddings[pairs.second]


def naive(loss, embeddings, labels):
    f, g = drawn(loss, embeddings, labels)
    assert len(f) == 4
    total = 0.0
    for i in range(len(f)):
        others = [((f[i] * g[j]).sum() - (f[i] * g[i]).sum()).exp() for j in range(len(f)) if j != i]
        total = total + torch.log(1 + sum(others))
    squares = [(x * x).sum() for x in (*f, *g)]
    return total / len(f) + float(loss.hyperparameters()["l2"]) * sum(squares) / len(squares)


@pytest.mark.parametrize("l2", [0.0, 0.002, 0.5])
def test_agrees_with_its_formula(agrees, l2):
    loss = losses.build("npair", dim=6, classes=4, l2=l2).eval()
    loss.key(2, 7)
    agrees(loss, naive)


def test_it_is_cross_entropy_with_diagonal_targets(batch):
    """T15."""
    loss = losses.build("npair", dim=6, classes=4, l2=0.0).eval()
    f, g = drawn(loss, *batch)
    wanted = torch.nn.functional.cross_entropy(f @ g.T, torch.arange(4))
    torch.testing.assert_close(loss(*batch).loss, wanted)
    assert wanted > 0.1


def test_by_hand():
    """Two identities along two axes with norms 2: own products 4, others 0: ln(1 + e^-4), and ||f||^2 = 4."""
    x = 2 * torch.eye(2, dtype=torch.float64)[[0, 1, 0, 1]]
    loss = losses.build("npair", dim=2, classes=2, l2=0.25)
    assert loss(x, torch.tensor([0, 1, 0, 1])).loss.item() == pytest.approx(math.log1p(math.exp(-4)) + 1, rel=1e-9)


def test_embeddings_are_not_normalized(batch):
    loss = losses.build("npair", dim=6, classes=4, l2=0.0).eval()
    assert abs(loss(2 * batch[0], batch[1]).loss - loss(*batch).loss) > 0.1


def test_each_identity_is_there_once_and_an_identity_of_one_face_not_at_all():
    """Identity 3 has one face: neither as anchor nor as negative has it a gradient."""
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3])
    loss = losses.build("npair", dim=4, classes=4)
    for step in range(5):
        loss.key(0, step)
        (gradient,) = torch.autograd.grad(loss(x, labels).loss, x)
        touched = gradient.abs().sum(1) > 0
        assert [int(touched[labels == k].sum()) for k in range(4)] == [2, 2, 2, 0]


def test_nothing_to_tell_apart_costs_nothing_but_the_penalty():
    x = torch.tensor([[3.0, 4.0], [3.0, 4.0], [1.0, 0.0]], requires_grad=True)
    loss = losses.build("npair", dim=2, classes=3, l2=0.5)
    assert loss(x, torch.tensor([0, 0, 1])).loss.item() == pytest.approx(12.5)
    alone = loss(x, torch.tensor([0, 1, 2])).loss
    assert alone.item() == 0
    alone.backward()
    assert x.grad.abs().max() == 0


def test_certain_anchors_keep_their_digits():
    """Products of 64 against 0 in float32: the loss is e^-64, not 0."""
    x = 8 * torch.eye(2)[[0, 1, 0, 1]]
    value = losses.build("npair", dim=2, classes=2, l2=0.0)(x, torch.tensor([0, 1, 0, 1])).loss.item()
    assert value == pytest.approx(math.exp(-64), rel=1e-4, abs=0)
