"""TPE against its formula, and its projection as post-processing of embeddings."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.mining import random
from faceloss.losses.projection import fit


def chosen(labels, similarity, mining):
    rows = range(len(labels))
    triplets = [(a, p, n) for a in rows for p in rows for n in rows if a != p and labels[a] == labels[p] != labels[n]]
    if mining == "all":
        return triplets
    nearest = {a: max((n for b, _, n in triplets if b == a), key=lambda n: similarity[a][n].item()) for a in rows}
    return [(a, p, n) for a, p, n in triplets if n == nearest[a]]


def naive(mining):
    def form(loss, embeddings, labels):
        weight, rows = loss.project.weight, range(len(labels))
        points = []
        for x in embeddings:
            image = torch.stack([(row * x).sum() for row in weight])
            points.append(image / (image * image).sum().sqrt())
        similarity = [[(points[i] * points[j]).sum() for j in rows] for i in rows]
        triplets = chosen(labels, similarity, mining)
        if mining == "random":  # the draws of the same key
            drawn = random(torch.zeros(len(labels), len(labels)), labels, loss.generator("mining"))
            triplets = list(zip(*(column.tolist() for column in drawn), strict=True))
        terms = []
        for a, p, n in triplets:
            own, other = similarity[a][p].exp(), similarity[a][n].exp()
            terms.append(-torch.log(own / (own + other)))
        return sum(terms) / len(terms)

    return form


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("mining", ["hard_negative", "random", "all"])
def test_agrees_with_its_formula(agrees, mining, size):
    loss = losses.build("tpe", dim=6, classes=4, size=size, mining=mining).eval()
    loss.key(5, 9)
    agrees(loss, naive(mining))


def test_it_is_softplus_of_the_difference(batch):
    """T15: softplus(a.n - a.p)."""
    x, labels = batch
    loss = losses.build("tpe", dim=6, classes=4, mining="all").double()
    points = loss.project(x)
    similarity = points @ points.T
    a, p, n = torch.tensor(chosen(labels, similarity, "all")).T
    wanted = torch.nn.functional.softplus(similarity[a, n] - similarity[a, p]).mean()
    torch.testing.assert_close(loss(x, labels).loss, wanted)


def test_by_hand():
    """W doubles one axis and drops another: a = (1, 0), p = (0, 1), n = (-1, 0) -> a.p = 0, a.n = -1; and for p as

    anchor both are 0: the mean of ln(1 + 1/e) and ln 2.
    """
    loss = losses.build("tpe", dim=3, classes=2, size=2)
    with torch.no_grad():
        loss.project.weight.copy_(torch.tensor([[2.0, 0, 0], [0, 1, 0]]))
    x = torch.tensor([[1.0, 0, 5], [0, 3, -5], [-4, 0, 1]], dtype=torch.float64)
    value = loss(x, torch.tensor([0, 0, 1])).loss.item()
    assert value == pytest.approx((math.log1p(math.exp(-1)) + math.log(2)) / 2, rel=1e-9)


def test_a_projection_of_full_size_starts_as_a_rotation(batch):
    x, _ = batch
    points = losses.build("tpe", dim=6, classes=4).double().project(x)
    unit = x / x.norm(dim=1, keepdim=True)
    torch.testing.assert_close(points @ points.T, unit @ unit.T, rtol=0, atol=1e-6)
    assert (points - unit).abs().max() > 0.1
    assert losses.build("tpe", dim=6, classes=4, size=2).project(x).shape == (12, 2)
    with pytest.raises(ValueError, match="size must be between 1 and dim, which is 6"):
        losses.build("tpe", dim=6, classes=4, size=7)


def test_principal_axes_are_those_of_largest_variance():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.1, 5.0, 1.0, 0.2])
    x = 7 + spread * torch.randn(500, 4, generator=generator)
    project = losses.build("tpe", dim=4, classes=2, size=2).project
    project.start_at_principal_axes(x)
    torch.testing.assert_close(project.weight.abs(), torch.eye(4)[[1, 2]], rtol=0, atol=0.05)
    with pytest.raises(ValueError, match=r"Principal axes need embeddings \[N, 4\] with N at least 2; given \[1, 4\]"):
        project.start_at_principal_axes(x[:1])


def frozen(seed):
    """Embeddings in which 4 of 10 coordinates know the identity and the others are louder."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(20).repeat_interleave(6)
    who = torch.randn(20, 4, generator=generator)[labels] + 0.3 * torch.randn(120, 4, generator=generator)
    return torch.cat([who, 2 * torch.randn(120, 6, generator=generator)], 1), labels


def accuracy(points, labels):
    closest = (points @ points.T).fill_diagonal_(-torch.inf).argmax(1)
    return (labels[closest] == labels).float().mean().item()


@pytest.mark.parametrize(("name", "given"), [("tpe", {}), ("tse", {"alpha": 0.3})])
def test_fitted_on_frozen_embeddings_it_helps_on_identities_never_seen(name, given):
    x, labels = frozen(0)
    unseen, names = frozen(1)
    loss = losses.build(name, dim=10, classes=20, size=5, mining="random", **given)
    loss.project.start_at_principal_axes(x)
    before = accuracy(loss.project(unseen).detach(), names)
    seen = []
    history = fit(loss, x, labels, steps=80, identities=10, learning_rate=0.3, progress=lambda *what: seen.append(what))
    points = loss.project(unseen).detach()
    torch.testing.assert_close(points.norm(dim=1), torch.ones(120))
    assert sum(history[-10:]) < 0.9 * sum(history[:10])
    assert accuracy(points, names) > before + 0.2
    assert seen[0] == ("projection", 1, 80)
    assert len(seen) == len(history) == 80


def test_fitting_is_keyed_and_leaves_the_embeddings_alone():
    x, labels = frozen(0)
    before, weights = x.clone(), []
    for seed in (3, 3, 4):
        torch.rand(5)
        loss = losses.build("tpe", dim=10, classes=20, mining="random")
        state = torch.get_rng_state()
        fit(loss, x.requires_grad_(), labels, steps=3, seed=seed, identities=8)
        assert torch.equal(state, torch.get_rng_state())
        weights.append(loss.project.weight.detach().clone())
    assert torch.equal(x, before)
    assert x.grad is None
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    with pytest.raises(ValueError, match="at least 2 identities"):
        fit(losses.build("tpe", dim=10, classes=20), x, torch.zeros_like(labels))
