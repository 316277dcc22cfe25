"""First-order scores against gradients computed in full, and against what short steps really do."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from faceloss import losses
from faceloss.train.first_order import scores, similarity
from faceloss.train.loop import to_input
from faceloss.train.settings import Recipe
from faceloss.train.state import State, build_optimizer

RECIPE = Recipe(dim=6, size=16, batch=12, images_per_identity=2, epochs=2, device="cpu", precision="fp32", clip=0)
CANDIDATES = [
    {"m1": 1.0, "m2": m2, "m3": m3, "s": s} for m2, m3, s in ((0, 0, 8), (0, 0.4, 8), (0.5, 0, 8), (0.2, 0.1, 20))
]


class Toy:
    """24 crops of 6 identities, in two batches."""

    def __init__(self):
        self.pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
        self.all = np.arange(24) % 6

    def batches(self, epoch):
        return [np.arange(12), np.arange(12, 24)]

    def images(self, epoch, index):
        return self.pixels[index]

    def labels(self, index):
        return self.all[index]


def state():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 6))
    loss = losses.build("lookahead_margin", dim=6, classes=6)
    return State(net, loss, build_optimizer(net, loss, RECIPE))


def validation():
    drawn = np.random.default_rng(1)
    return drawn.integers(0, 256, (16, 16, 16, 3), dtype=np.uint8), np.arange(16) % 4


def test_similarity_by_hand():
    """Two people, two images each, on the axes but for one at 60 degrees: pair by pair."""
    x = torch.tensor([[1.0, 0.0], [0.5, 3**0.5 / 2], [0.0, 1.0], [0.0, 2.0]])
    cos = [[1, 0.5, 0, 0], [0.5, 1, 0.75**0.5, 0.75**0.5], [0, 0.75**0.5, 1, 1], [0, 0.75**0.5, 1, 1]]
    total = 0.0
    for a, p, others in ((0, 1, (2, 3)), (1, 0, (2, 3)), (2, 3, (0, 1)), (3, 2, (0, 1))):
        mate = math.exp(cos[a][p] / 0.05)
        total += math.log(mate / (mate + sum(math.exp(cos[a][n] / 0.05) for n in others)))
    assert float(similarity(x, torch.tensor([0, 0, 1, 1]))) == pytest.approx(total / 4, rel=1e-5)


def test_similarity_needs_pairs_and_two_people():
    with pytest.raises(ValueError, match="at least two people"):
        similarity(torch.eye(3), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="at least two people"):
        similarity(torch.eye(3), torch.tensor([1, 1, 1]))


def by_gradients(here, steps):
    """The score from its definition: v . grad L_c by automatic differentiation of both, over the lengths."""
    pixels, labels = validation()
    epochs = Toy()
    net = copy.deepcopy(here.net).eval()
    names = list(net.parameters())
    value = similarity(net(to_input(pixels, torch.device("cpu"))), torch.from_numpy(labels))
    v = torch.cat([g.flatten() for g in torch.autograd.grad(value, names)]).double()
    assert v.norm() > 1e-3
    found = []
    for candidate in CANDIDATES:
        total = 0.0
        for index in epochs.batches(0)[:steps]:
            net, loss = copy.deepcopy(here.net).train(), copy.deepcopy(here.loss)
            loss.set_hyperparameters(candidate)
            embeddings = net(to_input(epochs.images(0, index), torch.device("cpu")))
            value = loss(embeddings, torch.from_numpy(epochs.labels(index))).loss
            (pull,) = torch.autograd.grad(value, embeddings, retain_graph=True)
            g = torch.cat([p.flatten() for p in torch.autograd.grad(value, list(net.parameters()))]).double()
            total += float(-(v @ g) / v.norm() / pull.norm())
        found.append(total / steps)
    return found


@pytest.mark.parametrize("steps", [1, 2])
def test_scores_are_dot_products_of_gradients(steps):
    here = state()
    expected = by_gradients(here, steps)
    assert len({round(x, 3) for x in expected}) > 1
    found = scores(here, Toy(), RECIPE, CANDIDATES, validation(), seed=0, steps=steps)
    assert found == pytest.approx(expected, rel=0.02, abs=2e-4)


def test_the_state_is_left_as_it_was():
    here = state()
    before = {name: tensor.clone() for name, tensor in here.tensors().items()}
    scores(here, Toy(), RECIPE, CANDIDATES, validation(), seed=0, steps=2)
    after = here.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_scores_rank_what_short_steps_do():
    """A step of equal length along each candidate's gradient changes the measure in the order of the scores."""
    here = state()
    found = scores(here, Toy(), RECIPE, CANDIDATES, validation(), seed=0, steps=1)
    pixels, labels = validation()
    images, targets = to_input(pixels, torch.device("cpu")), torch.from_numpy(labels)
    index = Toy().batches(0)[0]
    gains = []
    for candidate in CANDIDATES:
        net, loss = copy.deepcopy(here.net).double(), copy.deepcopy(here.loss).double()
        loss.set_hyperparameters(candidate)
        with torch.no_grad():
            start = similarity(net.eval()(images.double()).double(), targets)
        net.train()
        embeddings = net(to_input(Toy().images(0, index), torch.device("cpu")).double())
        value = loss(embeddings, torch.from_numpy(Toy().labels(index))).loss
        (pull,) = torch.autograd.grad(value, embeddings, retain_graph=True)
        slopes = torch.autograd.grad(value, list(net.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(net.parameters(), slopes, strict=True):
                parameter.sub_(slope, alpha=float(1e-3 / pull.norm()))
        net[1].load_state_dict(here.net[1].state_dict() | dict(net[1].named_parameters()))
        with torch.no_grad():
            gains.append(float(similarity(net.eval()(images.double()), targets) - start))
    assert np.argsort(found).tolist() == np.argsort(gains).tolist()


def test_what_cannot_be_scored_is_nan():
    here = state()
    with torch.no_grad():
        here.net[4].weight.zero_()
        here.net[4].bias.fill_(1.0)  # all faces in one point: the measure has no slope
    found = scores(here, Toy(), RECIPE, CANDIDATES, validation(), seed=0, steps=1)
    assert len(found) == 4
    assert not any(math.isfinite(x) and abs(x) > 1e6 for x in found)
