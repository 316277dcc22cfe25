"""CurricularFace against its formula, and its running mean."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    s, m = (float(loss.hyperparameters()[name]) for name in "sm")
    t = loss.others.t
    total, hard, branches = 0.0, 0, set()
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
        inside = cos[y] > -math.cos(m)
        branches.add(bool(inside))
        own = torch.cos(torch.acos(cos[y]) + m) if inside else cos[y] - m * math.sin(m)
        others = [c * (t + c) if c > own else c for j, c in enumerate(cos) if j != y]
        hard += sum(bool(c > own) for j, c in enumerate(cos) if j != y)
        own = (s * own).exp()
        total = total - torch.log(own / (own + sum((s * c).exp() for c in others)))
    assert 0 < hard < 3 * len(labels), "the input must have hard and easy classes"
    assert m < 1 or branches == {True, False}, "the input must reach the rule beyond pi"
    return total / len(labels)


@pytest.mark.parametrize("t", [0.0, 0.6])
@pytest.mark.parametrize(("s", "m"), [(64.0, 0.5), (5.0, 0.5), (5.0, 1.0)])
def test_agrees_with_its_formula(agrees, s, m, t):
    loss = losses.build("curricularface", dim=6, classes=4, s=s, m=m).eval()
    loss.others.t.fill_(t)
    agrees(loss, naive)


def test_by_hand():
    """c = 0.6 and 0.8, psi = 0.143009 as in ArcFace, t = 0.5: 0.8 counts as 0.8 * 1.3 = 1.04; s = 10."""
    loss = losses.build("curricularface", dim=2, classes=2, s=10.0).double().eval()
    loss.others.t.fill_(0.5)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(10.4 - 1.43009)), abs_tol=1e-5)


def test_the_mean_of_the_target_cosine_runs_in_training_only_and_before_it_is_used(batch):
    embeddings, labels = batch
    loss = losses.build("curricularface", dim=6, classes=4, rate=0.1).double()
    unit = torch.nn.functional.normalize
    mean = (unit(embeddings) * unit(loss.weight.detach())[labels]).sum(1).mean().item()
    first = loss(embeddings, labels).loss
    assert math.isclose(loss.others.t.item(), 0.1 * mean, rel_tol=1e-9)
    torch.testing.assert_close(first, naive(loss, embeddings, labels), rtol=1e-9, atol=0)
    loss.eval()
    loss(embeddings, labels)
    assert math.isclose(loss.others.t.item(), 0.1 * mean, rel_tol=1e-9)
    loss.train()
    loss(embeddings, labels)
    assert math.isclose(loss.others.t.item(), 0.19 * mean, rel_tol=1e-9)


def test_two_passes_before_one_backward(batch):
    loss = losses.build("curricularface", dim=6, classes=4).double()
    (loss(*batch).loss + loss(*batch).loss).backward()
    assert torch.isfinite(loss.weight.grad).all()
