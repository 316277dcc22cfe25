"""VPL against its formula, and when a memory counts."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    s, m, lam = (float(loss.hyperparameters()[name]) for name in ("s", "m", "lam"))
    source, total, branches = loss.vectors, 0.0, set()
    step = int(source.passes)
    rows = []
    for w, f, seen in zip(loss.weight, source.memory, source.seen.tolist(), strict=True):
        counts = seen >= 0 and step - seen <= source.age and step > source.start
        rows.append((1 - lam) * w / w.norm() + lam * f if counts else w)
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = [(w * x).sum() / (w.norm() * x.norm()) for w in rows]
        inside = cos[y] > -math.cos(m)
        branches.add(bool(inside))
        own = torch.cos(torch.acos(cos[y]) + m) if inside else cos[y] - m * math.sin(m)
        others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
        total = total - torch.log((s * own).exp() / ((s * own).exp() + others))
    assert m < 1 or branches == {True, False}, "the input must reach the rule beyond pi"
    return total / len(labels)


@pytest.mark.parametrize(("lam", "m"), [(0.15, 0.5), (0.8, 0.5), (0.15, 1.5)])
def test_agrees_with_its_formula(agrees, batch, lam, m):
    loss = losses.build("vpl", dim=6, classes=4, start=1, age=3, lam=lam, m=m).double()
    some = batch[1] != 2  # identity 2 was not seen yet
    for _ in range(2):
        loss(batch[0][some], batch[1][some])
    assert loss.vectors.seen.tolist() == [2, 2, -1, 2]
    agrees(loss.eval(), naive)


def test_by_hand():
    """w = (1, 0) and (0, 1); identity 0 was seen at (0.6, 0.8), lam = 1/2: its row is along (1.6, 0.8)."""
    loss = losses.build("vpl", dim=2, classes=2, s=10.0, m=0.0, lam=0.5, start=0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    first = loss(x, torch.tensor([0])).loss.item()
    assert math.isclose(first, math.log1p(math.exp(2)), rel_tol=1e-9), "nothing was seen before the first step"
    own = (0.6 * 1.6 + 0.8 * 0.8) / math.hypot(1.6, 0.8)
    second = loss(x, torch.tensor([0])).loss.item()
    assert math.isclose(second, math.log1p(math.exp(10 * (0.8 - own))), rel_tol=1e-9)


def test_a_memory_counts_after_the_start_and_while_it_is_young(batch):
    embeddings, labels = batch
    loss = losses.build("vpl", dim=6, classes=4, start=2, age=1, seed=1).double()
    plain = losses.build("arcface", dim=6, classes=4, seed=1).double()
    others = labels != 0
    mixed = []
    for step in range(5):
        use = others if step >= 3 else labels >= 0
        value = loss(embeddings[use], labels[use]).loss.item()
        mixed.append(not math.isclose(value, plain(embeddings[use], labels[use]).loss.item(), rel_tol=1e-9))
    assert mixed == [False, False, True, True, True]
    assert loss.vectors.seen.tolist() == [3, 5, 5, 5]
    rows = loss.eval().vectors(loss.weight, embeddings, labels, torch.tensor(0.15)).rows
    unit = torch.nn.functional.normalize(loss.weight)
    assert [torch.allclose(row, w) for row, w in zip(rows, unit, strict=True)] == [True, False, False, False]


def test_the_memory_gets_no_gradient_and_keeps_the_mean_direction(batch):
    embeddings, labels = batch
    loss = losses.build("vpl", dim=6, classes=4).double()
    loss(embeddings.clone().requires_grad_(), labels)
    unit = torch.nn.functional.normalize
    expected = unit(unit(embeddings)[labels == 1].mean(0), dim=0)
    torch.testing.assert_close(loss.vectors.memory[1], expected)
    assert not loss.vectors.memory.requires_grad
