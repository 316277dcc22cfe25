"""AdaCos: cosine softmax, and the scale that follows the batch."""

import math

import pytest
import torch

from faceloss import losses


def cosines(loss, embeddings):
    unit = torch.nn.functional.normalize
    return unit(embeddings) @ unit(loss.weight).T


def naive(loss, embeddings, labels):
    s = loss.scale.s
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = [(s * (w * x).sum() / (w.norm() * x.norm())).exp() for w in loss.weight]
        total = total - torch.log(scores[y] / sum(scores))
    return total / len(labels)


@pytest.mark.parametrize("training", [False, True])
def test_agrees_with_its_formula(agrees, training):
    """In training the formula sees the scale that the pass before it left, and which has no gradient."""
    loss = losses.build("adacos", dim=6, classes=4).train(training)
    before = loss.scale.s.item()
    agrees(loss, naive)
    assert (loss.scale.s.item() != before) == training


def test_by_hand():
    """K = 3: s starts at sqrt 2 ln 2 = 0.980258, below the floor of 1; at c = (1, 0, 0) the loss is ln(1 + 2/e)."""
    loss = losses.build("adacos", dim=3, classes=3).double().eval()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(3))
    result = loss(torch.tensor([[7.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0]))
    assert result.statistics["scale"].item() == 1.0
    assert math.isclose(result.loss.item(), math.log1p(2 / math.e), rel_tol=1e-12)
    many = losses.build("adacos", dim=3, classes=1001).eval()
    assert math.isclose(many.scale.s.item(), math.sqrt(2) * math.log(1000), rel_tol=1e-6)


@pytest.mark.parametrize("close", [False, True])
def test_the_scale_is_that_of_the_paper(batch, close):
    """Far targets are counted as 45 degrees, close ones with their median."""
    embeddings, labels = batch
    loss = losses.build("adacos", dim=6, classes=4).double()
    if close:
        embeddings = loss.weight.detach()[labels] + 0.05 * embeddings
    before, s = loss.scale.s.item(), 0.0
    cos = cosines(loss, embeddings).detach()
    angles = sorted(math.acos(cos[i, y]) for i, y in enumerate(labels.tolist()))
    median = angles[5]
    assert (median < math.pi / 4) == close
    for i, y in enumerate(labels.tolist()):
        s += sum(math.exp(before * cos[i, j]) for j in range(4) if j != y) / len(labels)
    expected = max(math.log(s) / math.cos(min(math.pi / 4, median)), 1.0)
    result = loss(embeddings, labels)
    assert expected > 1.0
    assert math.isclose(loss.scale.s.item(), expected, rel_tol=1e-6)
    assert math.isclose(result.statistics["scale"].item(), expected, rel_tol=1e-6), "the new s is used at once"


def test_fixed_is_a_cosine_softmax_with_the_start_of_s(batch):
    loss = losses.build("adacos", dim=6, classes=4, scale="fixed", seed=1).double()
    s = math.sqrt(2) * math.log(3)
    same = losses.build("cosface", dim=6, classes=4, s=s, m=0.0, seed=1).double()
    torch.testing.assert_close(loss(*batch).loss, same(*batch).loss, rtol=1e-12, atol=0)
    assert float(loss.hyperparameters()["s"]) == s


def test_two_passes_before_one_backward(batch):
    loss = losses.build("adacos", dim=6, classes=4).double()
    (loss(*batch).loss + loss(*batch).loss).backward()
    assert torch.isfinite(loss.weight.grad).all()
