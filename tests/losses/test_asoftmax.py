"""A-Softmax against its formula, its continuation and its geometry."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses import lsoftmax
from faceloss.losses.asoftmax import psi


@pytest.mark.parametrize(("m", "lam"), [(4.0, 5.0), (4.0, 0.0), (2.0, 0.0), (1.5, 1.0)])
def test_agrees_with_its_formula(agrees, multiplied, m, lam):
    agrees(losses.build("asoftmax", dim=6, classes=4, m=m, lam=lam), multiplied(unit=True))


def test_by_hand():
    """theta_y = 60 degrees, m = 4: psi = -cos 240 - 2 = -1.5; lam = 5: (5 * 0.5 - 1.5) / 6 = 1/6; ||x|| = 2."""
    loss = losses.build("asoftmax", dim=2, classes=2).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 7.0]]))
    x = torch.tensor([[1.0, math.sqrt(3)]], dtype=torch.float64)
    value = loss(x, torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(math.sqrt(3) - 1 / 3)), rel_tol=1e-9)


def test_the_norm_of_class_vectors_is_irrelevant_and_that_of_embeddings_is_not(batch):
    embeddings, labels = batch
    loss = losses.build("asoftmax", dim=6, classes=4).double()
    before = loss(embeddings, labels).loss
    with torch.no_grad():
        loss.weight.mul_(5)
    torch.testing.assert_close(loss(embeddings, labels).loss, before, rtol=1e-10, atol=0)
    assert abs(loss(2 * embeddings, labels).loss - before) > 0.1


def test_at_unit_norm_it_is_the_factor_of_the_combined_margin(batch):
    embeddings, labels = torch.nn.functional.normalize(batch[0]), batch[1]
    one = losses.build("asoftmax", dim=6, classes=4, m=3.0, lam=0.0).double()(embeddings, labels).loss
    two = losses.build("combined", dim=6, classes=4, s=1.0, m1=3.0, m2=0.0, m3=0.0).double()(embeddings, labels).loss
    torch.testing.assert_close(one, two, rtol=1e-10, atol=0)


def test_the_margin_is_that_of_lsoftmax():
    """So what is tested of it there (it falls, without a jump, and stays below cos) holds here."""
    assert psi is lsoftmax.psi


@pytest.mark.parametrize("step", [0, 1, 10, 500, 1658, 1660, 27_999])
def test_the_weight_of_the_cosine_falls_as_in_the_release(step):
    lam = losses.course("asoftmax")(step / 28_000)["lam"]
    assert math.isclose(lam, max(5.0, 1000 / (1 + 0.12 * step)))
    assert (lam > 5) == (step < 1659)


@pytest.mark.parametrize(("m", "discriminative"), [(2.0, False), (3.0, False), (3.8, True), (4.0, True)])
def test_from_which_factor_on_the_classes_are_tighter_than_their_gaps(m, discriminative):
    """Two classes at angle A: a class reaches A/(m-1) outwards and A/(m+1) inwards, the gap is A (m-1)/(m+1).

    Outwards its edge is where m theta = A + theta; the width is below the gap from m = 2 + sqrt 3 on.
    """
    between = 40.0
    vectors = torch.tensor([0.0, between]).deg2rad()
    loss = losses.build("asoftmax", dim=2, classes=2, m=m, lam=0.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.stack([vectors.cos(), vectors.sin()], 1))

    def inside(degrees):
        at = torch.tensor(degrees, dtype=torch.float64).deg2rad()
        return loss(torch.stack([at.cos(), at.sin()]).unsqueeze(0), torch.tensor([0])).loss.item() < math.log(2)

    inwards, outwards = between / (m + 1), between / (m - 1)
    assert inside(inwards - 0.01)
    assert not inside(inwards + 0.01)
    assert inside(-outwards + 0.01)
    assert not inside(-outwards - 0.01)
    assert (inwards + outwards <= between - 2 * inwards) == discriminative
