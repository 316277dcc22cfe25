"""The contrastive loss against its formula, on directions and on embeddings as they come."""

import math

import pytest
import torch

from faceloss import losses


def naive(on):
    def form(loss, embeddings, labels):
        m = float(loss.hyperparameters()["m"])
        points = [x / x.norm() if on == "unit" else x for x in embeddings]
        terms, beyond = [], 0
        for i in range(len(labels)):
            for j in range(i + 1, len(labels)):
                distance = ((points[i] - points[j]) ** 2).sum().sqrt()
                if labels[i] == labels[j]:
                    terms.append(distance**2 / 2)
                else:
                    beyond += float(distance.detach()) > m
                    terms.append(torch.relu(m - distance) ** 2 / 2)
        assert 0 < beyond < sum(labels[i] != labels[j] for i in range(len(labels)) for j in range(i))
        return sum(terms) / len(terms)

    return form


@pytest.mark.parametrize(("on", "m"), [("unit", 1.3), ("unit", 1.6), ("raw", 3.5)])
def test_agrees_with_its_formula(agrees, on, m):
    agrees(losses.build("contrastive", dim=6, classes=4, on=on, m=m), naive(on))


def test_by_hand():
    """0 and 60 degrees of one identity: D = 1, costs 1/2. 90 degrees of another, m = 1: sqrt 2 from the first costs 0,

    2 sin 15 from the second costs (1 - 2 sin 15)^2 / 2; and the mean is over three pairs.
    """
    angles = torch.tensor([0.0, 60.0, 90.0], dtype=torch.float64).deg2rad()
    x = 3 * torch.stack([angles.cos(), angles.sin()], 1)
    result = losses.build("contrastive", dim=2, classes=2)(x, torch.tensor([0, 0, 1]))
    near = 2 * math.sin(math.radians(15))
    assert math.isclose(result.loss.item(), (0.5 + (1 - near) ** 2 / 2) / 3, rel_tol=1e-9)
    assert result.statistics["active"].item() == pytest.approx(2 / 3)
    raw = losses.build("contrastive", dim=2, classes=2, on="raw", m=3.5)(x, torch.tensor([0, 0, 1]))
    assert math.isclose(raw.loss.item(), (4.5 + (3.5 - 3 * near) ** 2 / 2) / 3, rel_tol=1e-9)


def test_directions_do_not_know_the_norm_and_raw_embeddings_do(batch):
    x, labels = batch
    unit, raw = (losses.build("contrastive", dim=6, classes=4, on=on, m=2.0) for on in ("unit", "raw"))
    assert unit(5 * x, labels).loss.item() == pytest.approx(unit(x, labels).loss.item())
    assert raw(5 * x, labels).loss.item() > 5 * raw(x, labels).loss.item() > 0


def test_two_equal_faces_of_two_identities_cost_the_most_and_have_no_slope():
    x = torch.ones(2, 3, requires_grad=True)
    loss = losses.build("contrastive", dim=3, classes=2)(x, torch.tensor([0, 1])).loss
    loss.backward()
    assert loss.item() == 0.5
    assert x.grad.abs().max() == 0


@pytest.mark.parametrize(("on", "m"), [("unit", 2.1), ("unit", 0.0), ("raw", -1.0)])
def test_an_impossible_radius_is_refused(on, m):
    with pytest.raises(ValueError, match="m must be"):
        losses.build("contrastive", dim=6, classes=4, on=on, m=m)
    assert losses.build("contrastive", dim=6, classes=4, on="raw", m=20.0)
