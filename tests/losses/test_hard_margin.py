"""The hard-margin loss against its formula, and against the margin loss (T13)."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.hard_margin import logarithm, square
from faceloss.losses.margin import hinge, measure, mine

FORMS = {"log": lambda h: torch.log(1 + h), "squared": lambda h: h * h}


def naive(form):
    """The cost of each pair by loops; the pairs are those of the same key."""

    def total(loss, embeddings, labels):
        drawn = mine(measure(embeddings.detach()), labels, loss.generator("mining"), dim=6)
        held = {name: float(value) for name, value in loss.hyperparameters().items()}
        beta = loss.term.beta if hasattr(loss.term, "beta") else torch.tensor([held["beta"]], dtype=torch.float64)
        value, active = 0.0, 0
        for a, b, same in zip(*(column.tolist() for column in drawn), strict=True):
            distance = (embeddings[a] / embeddings[a].norm() - embeddings[b] / embeddings[b].norm()).norm()
            boundary = beta[int(labels[a]) if beta.numel() > 1 else 0]
            h = torch.relu(held["alpha"] + (distance - boundary if same else boundary - distance))
            value, active = value + FORMS[form](h), active + (float(h.detach()) > 0)
        assert 0 < active < len(drawn.first)
        pull = sum(beta[int(y) if beta.numel() > 1 else 0] for y in labels) / len(labels)
        return value / active + held.get("nu", 0.0) * pull

    return total


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("beta_mode", "nu"), [("fixed", 0.0), ("learned", 0.2), ("per class", 0.2)])
def test_agrees_with_its_formula(agrees, form, beta_mode, nu):
    loss = losses.build("hard_margin", dim=6, classes=4, form=form, beta_mode=beta_mode, nu=nu, beta=1.1).eval()
    loss.key(5, 9)
    agrees(loss, naive(form))


def test_by_hand():
    """alpha .2, beta 1.2: genuine at 1.5 has h = .5, impostor at .4 has h = 1, genuine at .9 has none."""
    given = torch.tensor([1.5, 0.4, 0.9], dtype=torch.float64), torch.tensor([True, False, True]), torch.zeros(3)
    numbers = {"alpha": torch.tensor(0.2, dtype=torch.float64), "beta": torch.tensor(1.2, dtype=torch.float64)}
    wanted = torch.tensor([math.log(1.5), math.log(2.0), 0.0], dtype=torch.float64)
    torch.testing.assert_close(logarithm(*given, **numbers), wanted)
    torch.testing.assert_close(square(*given, **numbers), torch.tensor([0.25, 1.0, 0.0], dtype=torch.float64))


def test_it_is_the_margin_loss_damped():
    """T13: never above the hinge h of the margin loss, and its slope is 1/(1 + h) of it: .83 at .2, .5 at 1."""
    distance = torch.linspace(0, 2, 201, dtype=torch.float64)
    numbers = {"alpha": torch.tensor(0.2, dtype=torch.float64), "beta": torch.tensor(1.2, dtype=torch.float64)}
    for same in (torch.ones(201, dtype=torch.bool), torch.zeros(201, dtype=torch.bool)):
        slopes, values = [], []
        for cost in (logarithm, hinge):
            leaf = distance.clone().requires_grad_()
            values.append(cost(leaf, same, same, **numbers))
            slopes.append(torch.autograd.grad(values[-1].sum(), leaf)[0])
        h = values[1].detach()
        assert 0 < (h > 0.01).sum() < 201
        assert (values[0] <= values[1]).all()
        assert (values[0] < values[1])[h > 0.01].all()
        kink = (h - 0).abs() < 1e-9
        torch.testing.assert_close(slopes[0][~kink], (slopes[1] / (1 + h))[~kink])
    ratio = [1 / (1 + h) for h in (0.2, 1.0)]
    assert ratio == pytest.approx([0.83, 0.5], abs=0.005)


def test_it_sees_the_pairs_of_the_margin_loss(batch):
    """On the same key both draw the same pairs: equal shares of active terms, and a smaller value."""
    hard, plain = (losses.build(name, dim=6, classes=4).double() for name in ("hard_margin", "margin"))
    for loss in (hard, plain):
        loss.key(3, 4)
    one, two = hard(*batch), plain(*batch)
    assert one.statistics["active"] == two.statistics["active"] > 0
    assert 0 < one.loss < two.loss


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="nu acts on a learned beta only"):
        losses.build("hard_margin", dim=6, classes=4, nu=0.1)
    with pytest.raises(ValueError, match="did you mean 'squared'"):
        losses.build("hard_margin", dim=6, classes=4, form="square")
