"""NormFace against its formula, and its learnt scale."""

import math

import pytest
import torch

from faceloss import losses


def naive(loss, embeddings, labels):
    total = 0.0
    s = 0.01 + loss.log_scale.exp()
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = [s * (w * x).sum() / (w.norm() * x.norm()) for w in loss.weight]
        total = total - torch.log(scores[y].exp() / sum(score.exp() for score in scores))
    return total / len(labels)


@pytest.mark.parametrize("s", [10.0, 2.0])
def test_agrees_with_its_formula(agrees, s):
    agrees(losses.build("normface", dim=6, classes=4, s=s), naive)


def test_by_hand():
    """x along w_0, w_1 opposite, s = 1: loss = ln(1 + e^-2), the bound of NormFace at K = 2 (equality at a simplex)."""
    loss = losses.build("normface", dim=2, classes=2, s=1.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[2.0, 0.0], [-3.0, 0.0]]))
    result = loss(torch.tensor([[5.0, 0.0]], dtype=torch.float64), torch.tensor([0]))
    assert math.isclose(result.loss.item(), math.log1p(math.exp(-2)), rel_tol=1e-6)
    assert math.isclose(result.statistics["scale"].item(), 1.0, rel_tol=1e-6)
    assert result.statistics["norm"].item() == 5.0


def test_never_below_its_bound(batch):
    """Balanced labels: mean loss >= ln(1 + (K-1) exp(-s K/(K-1))), whatever the vectors (proposition 2)."""
    generator = torch.Generator().manual_seed(0)
    loss = losses.build("normface", dim=6, classes=4, s=3.0).double()
    bound = math.log1p(3 * math.exp(-3.0 * 4 / 3))
    gaps = []
    for _ in range(50):
        with torch.no_grad():
            loss.weight.copy_(torch.randn(4, 6, generator=generator))
        embeddings = loss.weight.detach() + 0.5 * torch.randn(4, 6, generator=generator, dtype=torch.float64)
        gaps.append(loss(embeddings, torch.arange(4)).loss.item() - bound)
    assert 0 < min(gaps) < 1


def test_the_scale_is_learnt_and_stays_positive():
    loss = losses.build("normface", dim=6, classes=4)
    assert loss.optimizer_options() == {"log_scale": {"weight_decay": 0.0}}
    assert "s" not in loss.hyperparameters()
    with torch.no_grad():
        loss.log_scale.fill_(-50.0)  # as after an absurd step
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    assert loss(x, torch.arange(3)).statistics["scale"].item() == pytest.approx(0.01)
    with pytest.raises(ValueError, match=r"s must be a finite number above 0.01; given 0.005"):
        losses.build("normface", dim=6, classes=4, s=0.005)
