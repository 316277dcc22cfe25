"""All negatives block by block: the same value and gradients as every triplet written out, in the memory of a block."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from faceloss import losses
from faceloss.losses import mining, pairwise
from faceloss.losses.core import Number
from faceloss.losses.pairwise import distances
from faceloss.losses.tuples import TupleHead


def crowd(rows=60, identities=9):
    """Embeddings in which triplets of every kind occur, and identities of unequal size; float64."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(identities, (rows,), generator=generator)
    labels[0] = identities  # one that is alone
    centers = torch.randn(identities + 1, 8, generator=generator, dtype=torch.float64)
    return centers[labels] + torch.randn(rows, 8, generator=generator, dtype=torch.float64), labels


class Learned(torch.nn.Module):
    """A term with parameters of its own, one of which it does not use."""

    def __init__(self):
        super().__init__()
        self.margin = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.slope = torch.nn.Parameter(torch.tensor([1.2, 0.8], dtype=torch.float64))
        self.unused = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, positive, negative, weight):
        return weight * (self.slope[0] * positive - self.slope[1] * negative + self.margin).relu().square()


def written_out(miner):
    return lambda d, labels, generator: miner(d, labels, generator).triplets(d, labels)


@pytest.mark.parametrize("block", [1, 60, 700, 10**6])
@pytest.mark.parametrize("reduction", ["mean", "active"])
@pytest.mark.parametrize("miner", [mining.all_triplets, mining.all_semi_hard])
def test_all_negatives_are_all_triplets(miner, reduction, block, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", block)
    embeddings, labels = crowd()
    results = []
    for given in (miner, written_out(miner)):
        head = TupleHead(
            8,
            10,
            measure=distances,
            miner=given,
            term=Learned(),
            reduction=reduction,
            hyperparameters={"weight": Number(0.7)},
        )
        leaf = embeddings.clone().requires_grad_()
        value, statistics = head(leaf, labels)
        (3 * value).backward()
        assert 0 < statistics["active"] < 1
        results.append((value.detach(), statistics["active"], leaf.grad, head.term.margin.grad, head.term.slope.grad))
        assert head.term.unused.grad is None or not head.term.unused.grad.any()
    assert all(bool((part != 0).all()) for part in results[0])
    for ours, wanted in zip(*results, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("mining", ["all", "all_semi_hard"])
def test_without_a_gradient_the_value_is_the_same(mining):
    embeddings, labels = crowd()
    loss = losses.build("triplet", dim=8, classes=10, mining=mining)
    with_gradient = loss(embeddings.requires_grad_(), labels)
    with torch.no_grad():
        without = loss(embeddings, labels)
    assert with_gradient.loss > 0
    assert torch.equal(with_gradient.loss.detach(), without.loss)
    assert not without.loss.requires_grad
    assert not loss(embeddings.detach(), labels).loss.requires_grad


def test_a_second_backward_pass_adds_the_same_again():
    embeddings, labels = crowd()
    embeddings.requires_grad_()
    value = losses.build("triplet", dim=8, classes=10, mining="all")(embeddings, labels).loss
    value.backward(retain_graph=True)
    once = embeddings.grad.clone()
    value.backward()
    torch.testing.assert_close(embeddings.grad, 2 * once, rtol=1e-12, atol=0)
    assert once.abs().max() > 0


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("triplet", {"mining": "all"}),
        ("triplet", {"mining": "all_semi_hard"}),
        ("triplet", {"mining": "semi_hard"}),
        ("triplet", {"mining": "random"}),
        ("triplet", {"mining": "hard"}),
        ("margin", {}),
        ("tpe", {"mining": "all"}),
    ],
)
def test_no_tensor_is_larger_than_all_distances(name, given, monkeypatch):
    """128 rows, 16 of each identity: 1,920 pairs x 128 would be 15 such matrices, triplets 13."""
    monkeypatch.setattr(pairwise, "BLOCK", 1024)
    rows = torch.randn(128, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = losses.build(name, dim=8, classes=8, **given)
    with Largest() as largest:
        loss(rows, torch.arange(128) % 8).loss.backward()
    assert rows.grad.abs().max() > 0
    assert largest.elements == 128 * 128


def test_blocks_of_one_row_describe_the_same_batch(monkeypatch):
    embeddings, labels = crowd()
    loss = losses.build("triplet", dim=8, classes=10)
    whole = loss(embeddings, labels).statistics
    monkeypatch.setattr(pairwise, "BLOCK", 1)
    rowwise = loss(embeddings, labels).statistics
    assert 0 < whole["accuracy"] < 1
    assert set(whole) == set(rowwise)
    for name in whole:
        torch.testing.assert_close(rowwise[name], whole[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["triplet", "npair"])
def test_distances_of_a_row_to_itself_are_in_no_mean(name):
    """Of npair they are -||x||^2 and not 0."""
    embeddings, labels = crowd()
    statistics = losses.build(name, dim=8, classes=10)(embeddings, labels).statistics
    rows = torch.nn.functional.normalize(embeddings)
    matrix = -embeddings @ embeddings.T if name == "npair" else 2 - 2 * rows @ rows.T
    for kind, kept in (("positive", mining.positives(labels)), ("negative", mining.negatives(labels))):
        assert 0 < kept.sum() < 60 * 59
        torch.testing.assert_close(statistics[f"{kind}_distance"], matrix[kept].mean(), rtol=1e-11, atol=1e-11)
