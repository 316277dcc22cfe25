"""Range loss against its formula, and where it would divide by zero."""

import itertools

import pytest
import torch

from faceloss import losses
from faceloss.losses.range_loss import inter, intra


def naive(loss, embeddings, labels):
    held = {name: float(value) for name, value in loss.hyperparameters().items()}
    k, softmax = loss.terms["range"].k, loss.terms["softmax"]
    entropy = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        scores = torch.stack([(w * x).sum() + b for w, b in zip(softmax.weight, softmax.bias, strict=True)])
        entropy = entropy - scores.log_softmax(0)[y]
    within, centers = 0.0, []
    for who in set(labels.tolist()):
        mine = [x for x, y in zip(embeddings, labels.tolist(), strict=True) if y == who]
        squared = [((x - y) ** 2).sum() for x, y in itertools.combinations(mine, 2)]
        widest = sorted(squared, key=lambda d: -float(d.detach()))[:k]
        within = within + len(widest) / sum(1 / d for d in widest)
        centers.append(sum(mine) / len(mine))
    nearest = min(
        (((a - b) ** 2).sum() for a, b in itertools.combinations(centers, 2)), key=lambda d: float(d.detach())
    )
    between = torch.relu(held["m"] - nearest)
    assert float(between.detach()) > 0
    return entropy / len(labels) + held["alpha"] * within + held["beta"] * between


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("given", [{}, {"alpha": 0.5, "beta": 0.3, "m": 30.0}])
def test_agrees_with_its_formula(agrees, given, k):
    """The batch has identities of 2, 3 and 4 faces: 1, 3 and 6 distances."""
    agrees(losses.build("range_loss", dim=6, classes=4, k=k, **given), naive)


def test_by_hand():
    """Faces at 0, 1 and 3 on a line: D = 9, 4, 1, of which 9 and 4: 2/(1/9 + 1/4) = 72/13. Another identity at 5 and 6:

    D = 1. Centers 4/3 and 11/2: their squared distance is (25/6)^2 = 625/36.
    """
    x = torch.tensor([[0.0], [1], [3], [5], [6]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert intra(x, labels, 2).item() == pytest.approx(72 / 13 + 1)
    assert inter(x, labels, torch.tensor(20.0)).item() == pytest.approx(20 - 625 / 36)
    assert inter(x, labels, torch.tensor(17.0)).item() == 0
    result = losses.build("range_loss", dim=1, classes=2, alpha=0.5, beta=0.1, m=20.0)(x, labels)
    assert result.statistics["range"].item() == pytest.approx(0.5 * (72 / 13 + 1) + 0.1 * (20 - 625 / 36))


def test_identities_of_few_faces_count_with_what_they_have():
    x = torch.tensor([[0.0], [2], [7]], dtype=torch.float64)
    assert intra(x, torch.tensor([0, 0, 1]), 2).item() == pytest.approx(4)
    assert intra(x, torch.tensor([0, 1, 2]), 2).item() == 0
    assert inter(x, torch.tensor([1, 1, 1]), torch.tensor(5.0)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_faces_count_nothing_and_divide_by_nothing(dtype):
    """The harmonic mean of D and 0 is 0; D = 1e-20 and less counts next to nothing; gradients stay finite."""
    for x in ([0.0, 0, 0], [0, 0, 3], [0, 1e-18, 0], [0, 1e-12, 3], [1e8, 1e8, -1e8]):
        leaf = torch.tensor(x, dtype=dtype).unsqueeze(1).requires_grad_()
        value = intra(leaf, torch.zeros(3, dtype=torch.int64), 3)
        value.backward()
        assert 0 <= value.item() < 1e-10
        assert torch.isfinite(leaf.grad).all()
    collapsed = torch.ones(6, 2, dtype=dtype, requires_grad=True)
    value = inter(collapsed, torch.arange(6) % 3, torch.tensor(5.0))
    value.backward()
    assert value.item() == 5
    assert collapsed.grad.abs().max() == 0


def test_the_widest_faces_close_up_and_the_nearest_identities_part(batch):
    leaf = batch[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(intra(leaf, batch[1], 1), leaf)
    assert intra(batch[0] - 0.01 * gradient, batch[1], 1) < intra(batch[0], batch[1], 1)
    assert (gradient.abs().sum(1) > 0).sum() == 8  # two faces of each of four identities
    m = torch.tensor(1e3)
    (gradient,) = torch.autograd.grad(inter(leaf, batch[1], m), leaf)
    touched = batch[1][gradient.abs().sum(1) > 0].unique()
    assert len(touched) == 2
    assert inter(batch[0] - 0.1 * gradient, batch[1], m) < inter(batch[0], batch[1], m)


@pytest.mark.parametrize(
    ("wrong", "sentence"), [({"k": 0}, "k must be at least 1; given 0"), ({"m": 0.0}, "m must be")]
)
def test_impossible_settings_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        losses.build("range_loss", dim=6, classes=4, **wrong)
