"""Sub-center ArcFace against its formula: the nearest of a class's vectors counts."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    s, m = (float(loss.hyperparameters()[name]) for name in "sm")
    total, used, branches = 0.0, set(), set()
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        every = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
        each = len(every) // loss.classes
        groups = [torch.stack(every[each * j : each * (j + 1)]) for j in range(loss.classes)]
        cos = [group.max() for group in groups]
        used.add((y, int(groups[y].argmax())))
        inside = cos[y] > -math.cos(m)
        branches.add(bool(inside))
        own = torch.cos(torch.acos(cos[y]) + m) if inside else cos[y] - m * math.sin(m)
        others = sum((s * c).exp() for j, c in enumerate(cos) if j != y)
        total = total - torch.log((s * own).exp() / ((s * own).exp() + others))
    assert each == 1 or len(used) > loss.classes, "the input must use several centers of a class"
    assert m < 2 or branches == {True, False}, "the input must reach the rule beyond pi"
    return total / len(labels)


@pytest.mark.parametrize("centers", [1, 3])
@pytest.mark.parametrize(("s", "m"), [(64.0, 0.5), (5.0, 0.5), (5.0, 2.0)])
def test_agrees_with_its_formula(agrees, s, m, centers):
    loss = losses.build("subcenter_arcface", dim=6, classes=4, s=s, m=m, centers=centers, gradient="exact")
    agrees(loss, naive)


def test_by_default_the_slope_is_that_without_a_margin(batch):
    """Same value as with the exact gradient; at one center per class, the gradient of ArcFace "straight-through"."""
    embeddings, labels = batch
    found = {}
    for name, more in (
        ("subcenter_arcface", {"centers": 1}),
        ("subcenter_arcface", {"centers": 1, "gradient": "exact"}),
        ("arcface", {"gradient": "straight-through"}),
    ):
        loss = losses.build(name, dim=6, classes=4, seed=1, s=5.0, **more).double()
        leaf = embeddings.clone().requires_grad_()
        value = loss(leaf, labels).loss
        value.backward()
        found[name, more.get("gradient")] = value.detach(), leaf.grad
    (value, mine), (exact_value, exact), (_, theirs) = found.values()
    torch.testing.assert_close(value, exact_value, rtol=1e-12, atol=0)
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    assert (mine - exact).abs().max() > 0.01


def test_by_hand():
    """Class 0 has centers at cosines -1 and 0.6, class 1 at 0.8 and 0: without margin, s = 10: ln(1 + e^2)."""
    loss = losses.build("subcenter_arcface", dim=2, classes=2, s=10.0, m=0.0, centers=2).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[-0.6, -0.8], [1.0, 0.0], [0.0, 1.0], [0.8, -0.6]]))
    value = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(2)), rel_tol=1e-6)


def test_one_center_is_arcface(batch):
    one = losses.build("subcenter_arcface", dim=6, classes=4, centers=1, seed=1).double()(*batch).loss
    arcface = losses.build("arcface", dim=6, classes=4, seed=1).double()(*batch).loss
    torch.testing.assert_close(one, arcface, rtol=1e-12, atol=0)


def test_no_center_is_refused():
    with pytest.raises(ValueError, match="centers must be"):
        losses.build("subcenter_arcface", dim=2, classes=2, centers=0)
