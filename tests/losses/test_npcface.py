"""NPCFace against its formula, with both rules for the target and both gradients."""

import math

import pytest
import torch

from faceloss import losses


def naive(target, gradient):
    def form(loss, embeddings, labels):
        s, m, m0, m1, t, a = (float(loss.hyperparameters()[name]) for name in ("s", "m", "m0", "m1", "t", "a"))
        total, counts, branches = 0.0, [], set()
        for x, y in zip(embeddings, labels.tolist(), strict=True):
            cos = [(w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
            threshold = torch.cos(torch.acos(cos[y]) + m) if cos[y] > -math.cos(m) else cos[y] - m * math.sin(m)
            hard = [j for j, c in enumerate(cos) if j != y and c > threshold]
            counts.append(len(hard))
            h = sum(cos[j] for j in hard) / len(hard) if hard else 0 * cos[y]
            h = h.detach() if gradient == "detached" else h
            margin = m0 + m1 * h
            turned = torch.cos(torch.acos(cos[y]) + margin)
            if target == "easy":
                branches.add(bool(cos[y] > 0))
                own = turned if cos[y] > 0 else cos[y]
            else:
                branches.add(bool(cos[y] > -torch.cos(margin)))
                own = turned if cos[y] > -torch.cos(margin) else cos[y] - margin * torch.sin(margin)
            others = sum((s * (t * c + a if j in hard else c)).exp() for j, c in enumerate(cos) if j != y)
            total = total - torch.log((s * own).exp() / ((s * own).exp() + others))
        assert 0 in counts, "the input must have a sample without hard classes"
        assert 1 in counts
        assert 2 in counts
        assert branches == {True, False}, "the input must reach both sides of the rule"
        return total / len(labels)

    return form


@pytest.mark.parametrize("gradient", ["detached", "exact"])
@pytest.mark.parametrize("target", ["easy", "subtract"])
@pytest.mark.parametrize(("s", "m0"), [(64.0, 0.9), (5.0, 1.2)])
def test_agrees_with_its_formula(agrees, s, m0, target, gradient):
    given = {"m": 0.1, "m0": m0, "m1": 0.3, "target": target, "gradient": gradient}
    agrees(losses.build("npcface", dim=6, classes=4, s=s, **given), naive(target, gradient))


def test_by_hand():
    """c = 0.6 and 0.8: 0.8 is hard, the margin is .4 + .2 * .8 = .56, 0.8 counts as 1.1 * .8 + .2 = 1.08; s = 10.

    cos(acos .6 + .56) = .6 cos .56 - .8 sin .56 = .083404.
    """
    loss = losses.build("npcface", dim=2, classes=2, s=10.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.eye(2))
    result = loss(torch.tensor([[0.6, 0.8]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(10 * (1.08 - 0.083404))), abs_tol=2e-5)
    assert math.isclose(result.statistics["nats"].item(), 10 * (0.6 - 0.083404), abs_tol=2e-5)
    assert math.isclose(result.statistics["cross_entropy"].item(), math.log1p(math.exp(2)), rel_tol=1e-12)


def test_without_hard_classes_it_is_arcface_with_m0():
    """Embeddings on their own class vectors, orthogonal to the others: nothing is hard, the mean of nothing is 0."""
    x = torch.eye(6, dtype=torch.float64)[:4] + 0.05 * torch.ones(4, 6, dtype=torch.float64)
    labels, values = torch.arange(4), []
    for name, given in (("npcface", {}), ("arcface", {"m": 0.4})):
        loss = losses.build(name, dim=6, classes=4, s=8.0, **given).double()
        with torch.no_grad():
            loss.weight.copy_(torch.eye(6)[:4])
        values.append(loss(x, labels).loss)
    assert values[0] > 1e-3
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=0)


def test_without_its_two_weights_it_is_its_margin(batch):
    """m1 = 0 and t = 1, a = 0: a fixed margin and plain wrong classes, which is ArcFace with m0."""
    plain = losses.build("arcface", dim=6, classes=4, m=0.4, seed=1).double()(*batch).loss
    given = {"m1": 0.0, "t": 1.0, "a": 0.0, "target": "subtract"}
    same = losses.build("npcface", dim=6, classes=4, seed=1, **given).double()(*batch).loss
    more = losses.build("npcface", dim=6, classes=4, seed=1, target="subtract").double()(*batch).loss
    torch.testing.assert_close(same, plain, rtol=1e-12, atol=0)
    assert more > plain + 0.1
