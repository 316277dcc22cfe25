"""The margin loss against its formula, on the pairs that its sampler drew."""

import copy
import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.margin import hinge, measure, mine


def naive(loss, embeddings, labels):
    """The hinges of each pair by loops; the pairs are those of the same key."""
    drawn = mine(measure(embeddings.detach()), labels, loss.generator("mining"), dim=6)
    held = {name: float(value) for name, value in loss.hyperparameters().items()}
    beta = loss.term.beta if hasattr(loss.term, "beta") else torch.tensor([held["beta"]], dtype=torch.float64)
    per_class = beta.numel() > 1
    total, active = 0.0, 0
    for a, b, same in zip(*(column.tolist() for column in drawn), strict=True):
        distance = (embeddings[a] / embeddings[a].norm() - embeddings[b] / embeddings[b].norm()).norm()
        boundary = beta[int(labels[a]) if per_class else 0]
        term = torch.relu(held["alpha"] + (distance - boundary if same else boundary - distance))
        total, active = total + term, active + (float(term.detach()) > 0)
    assert 0 < active < len(drawn.first)
    return total / active + held.get("nu", 0.0) * sum(beta[int(y) if per_class else 0] for y in labels) / len(labels)


@pytest.mark.parametrize("beta_mode", ["fixed", "learned", "per class"])
def test_agrees_with_its_formula(agrees, beta_mode):
    loss = losses.build("margin", dim=6, classes=4, beta_mode=beta_mode).eval()
    loss.key(5, 9)
    agrees(loss, naive)


@pytest.mark.parametrize("beta_mode", ["learned", "per class"])
def test_nu_pulls_a_learned_boundary(agrees, beta_mode):
    loss = losses.build("margin", dim=6, classes=4, beta_mode=beta_mode, nu=0.3, alpha=0.1, beta=1.0).eval()
    loss.key(5, 9)
    agrees(loss, naive)


def test_by_hand():
    """alpha .2, beta 1.2: a genuine pair at 1.1 costs .1 and at .9 nothing, an impostor at 1.3 costs .1, at .6 .8."""
    distance = torch.tensor([1.1, 0.9, 1.3, 0.6], dtype=torch.float64)
    same = torch.tensor([True, True, False, False])
    cost = hinge(distance, same, torch.zeros(4), alpha=torch.tensor(0.2), beta=torch.tensor(1.2))
    torch.testing.assert_close(cost, torch.tensor([0.1, 0.0, 0.1, 0.8], dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_learned_boundary_moves_to_where_errors_balance():
    """The slope of beta is (active negatives - active positives)/active, so too wide a boundary shrinks."""
    x = torch.nn.functional.normalize(torch.randn(24, 6, generator=torch.Generator().manual_seed(0)))
    labels = torch.arange(24) % 4
    for beta, sign in ((1.9, 1), (0.3, -1)):
        loss = losses.build("margin", dim=6, classes=4, beta=beta, beta_mode="learned")
        loss(x, labels).loss.backward()
        assert loss.term.beta.grad.item() * sign > 0.1


def test_a_fixed_boundary_is_a_hyperparameter_and_a_learned_one_a_parameter():
    fixed = losses.build("margin", dim=6, classes=4)
    assert set(fixed.hyperparameters()) == {"alpha", "beta"}
    assert not list(fixed.parameters())
    learned = losses.build("margin", dim=6, classes=4, beta_mode="per class")
    assert set(learned.hyperparameters()) == {"alpha", "nu"}
    assert learned.term.beta.shape == (4,)
    assert learned.optimizer_options() == {"term.beta": {"weight_decay": 0.0}}


def test_a_copy_has_a_boundary_of_its_own(batch):
    """Copying for a search must not leave the copy's penalty reading the original's boundary."""
    embeddings, labels = batch
    loss = losses.build("margin", dim=6, classes=4, beta_mode="learned", nu=1.0)
    copied = copy.deepcopy(loss)
    before = loss(embeddings, labels).loss.item()
    with torch.no_grad():
        copied.term.beta.fill_(0.1)
    loss.key(0, 0)
    assert loss(embeddings, labels).loss.item() == before
    assert copied.penalty(labels, alpha=0.0, nu=torch.tensor(1.0)).item() == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"alpha": -0.1}, "alpha must be a finite number at least 0 and at most 2; given -0.1"),
        ({"beta": 0.0}, "beta must be a finite number above 0 and at most 2; given 0"),
        ({"nu": 0.1}, "nu acts on a learned beta only"),
        ({"nu": -0.1, "beta_mode": "learned"}, "nu must be"),
        ({"beta_mode": "per_class"}, "did you mean 'per class'"),
        ({"beta": math.nan}, "beta must be a finite number"),
    ],
)
def test_impossible_settings_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        losses.build("margin", dim=6, classes=4, **wrong)
