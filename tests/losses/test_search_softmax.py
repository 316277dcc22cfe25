"""Search-Softmax at a given a: the modulated probability, which is CosFace with m = ln(1 - a)/s."""

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
        total = total - torch.log(p) + torch.log1p(-a * (1 - p))
    return total / len(labels)


@pytest.mark.parametrize(("s", "a"), [(32.0, -42901.0), (8.0, -3.0)])
def test_agrees_with_its_formula(agrees, s, a):
    agrees(losses.build("search_softmax", dim=6, classes=4, s=s, a=a), naive, tolerance=1e-9)


def test_by_hand_and_cosface_at_the_start_of_the_released_search(batch):
    """a = -e^(32/3) at s = 32 is a margin of 1/3."""
    assert math.isclose(math.log1p(42901.0) / 32, 1 / 3, abs_tol=1e-6)
    one = losses.build("search_softmax", dim=6, classes=4).double()(*batch)
    two = losses.build("cosface", dim=6, classes=4, s=32.0, m=math.log1p(42901.0) / 32).double()(*batch)
    torch.testing.assert_close(one.loss, two.loss, rtol=1e-12, atol=0)
    assert math.isclose(one.statistics["nats"].item(), 32 / 3, abs_tol=1e-4)


def test_the_search_can_move_a_while_training(batch):
    loss = losses.build("search_softmax", dim=6, classes=4).double()
    before = loss(*batch).loss.item()
    loss.set_hyperparameters({"a": -1.0})
    assert loss(*batch).loss.item() < before - 1
    with pytest.raises(ValueError, match="a must be"):
        loss.set_hyperparameters({"a": 0.1})
