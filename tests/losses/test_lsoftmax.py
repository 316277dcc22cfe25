"""L-Softmax against its formula, its continuation and its geometry."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.lsoftmax import psi

GRID = torch.linspace(0.001, math.pi - 0.001, 2001, dtype=torch.float64)


@pytest.mark.parametrize(("m", "lam"), [(4.0, 5.0), (4.0, 0.0), (2.0, 0.0), (1.5, 1.0)])
def test_agrees_with_its_formula(agrees, multiplied, m, lam):
    agrees(losses.build("lsoftmax", dim=6, classes=4, m=m, lam=lam), multiplied(unit=False))


def test_by_hand():
    """theta_y = 60 degrees, m = 4: 240 degrees, k = 1, psi = -cos 240 - 2 = -1.5; ||x|| = 2, ||w|| = 3 and 1."""
    loss = losses.build("lsoftmax", dim=2, classes=2).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    x = torch.tensor([[1.0, math.sqrt(3)]], dtype=torch.float64)
    value = loss(x, torch.tensor([0])).loss.item()
    assert math.isclose(value, math.log1p(math.exp(math.sqrt(3) + 9)), rel_tol=1e-9)


@pytest.mark.parametrize("lam", [0.0, 5.0])
@pytest.mark.parametrize("m", [1.0, 1.35, 1.5, 1.7, 2.0, 3.0, 4.0])
def test_the_continuation_falls_without_a_jump_and_stays_below_cos(m, lam):
    m = torch.tensor(m, dtype=torch.float64)
    values = psi(GRID.cos(), m, torch.tensor(lam))
    assert (values.diff() < 0).all()
    assert values.diff().abs().max() < 0.01
    assert (values <= GRID.cos() + 1e-12).all()
    assert (torch.cos(m * GRID).diff() < 0).all() == (m == 1), "without the continuation it must turn up again"


def test_without_margin_it_is_softmax(batch):
    embeddings, labels = batch
    plain = losses.build("softmax", dim=6, classes=4, seed=1).double()(embeddings, labels).loss
    for more in ({"m": 1.0}, {"m": 4.0, "lam": 1e12}):
        value = losses.build("lsoftmax", dim=6, classes=4, seed=1, **more).double()(embeddings, labels).loss
        torch.testing.assert_close(value, plain, rtol=1e-9, atol=0)


@pytest.mark.parametrize("step", [0, 1, 100, 10_000, 29_999])
def test_the_weight_of_the_cosine_falls_as_in_the_release(step):
    assert math.isclose(losses.course("lsoftmax", lam=0.0)(step / 30_000)["lam"], 1000 * (1 + 2.5e-5 * step) ** -35)
    assert losses.course("lsoftmax", lam=5.0)(step / 30_000)["lam"] >= 5


def test_the_weight_of_the_cosine_can_be_lowered_while_training(batch):
    loss = losses.build("lsoftmax", dim=6, classes=4, lam=1000.0).double()
    seen = []
    for lam in (1000.0, 10.0, 0.0):
        loss.set_hyperparameters({"lam": lam})
        seen.append(loss(*batch).loss.item())
    assert seen[0] < seen[1] < seen[2]


@pytest.mark.parametrize(("m", "between"), [(2.0, 180.0), (3.0, 90.0), (4.0, 120.0)])
def test_the_angle_between_the_decision_boundaries(m, between):
    """Two classes ``between`` degrees apart: a class's boundary lies at between/(m+1) from its vector.

    The margin is between * (m-1)/(m+1), 60 degrees for m = 2 and opposite vectors.
    """
    vectors = torch.tensor([0.0, between]).deg2rad()
    loss = losses.build("lsoftmax", dim=2, classes=2, m=m).double()
    with torch.no_grad():
        loss.weight.copy_(torch.stack([vectors.cos(), vectors.sin()], 1))
    edge = between / (m + 1)
    for offset, sign in ((-0.01, -1), (0.01, 1)):
        at = torch.tensor(edge + offset, dtype=torch.float64).deg2rad()
        value = loss(torch.stack([at.cos(), at.sin()]).unsqueeze(0), torch.tensor([0])).loss.item()
        assert sign * (value - math.log(2)) > 0
    assert m != 2.0 or math.isclose(between - 2 * edge, 60.0)
