"""Sparse gradients of class vectors: rows move as parameters of their own would, all others stay where they are."""

import pytest
import torch
from torch import nn

from faceloss import losses
from faceloss.losses.partial_fc import sampled
from faceloss.losses.sampling import take
from faceloss.train import rows
from faceloss.train.rows import clip_gradients

SGD = (rows.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01})
OPTIMIZERS = {
    "sgd": SGD,
    "without momentum": (*SGD[:2], {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.01}),
    "without decay": (*SGD[:2], {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}),
    "adamw": (rows.AdamW, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.3}),
}
CLASSES, DIM = 30, 6


def batches(steps, classes=CLASSES):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield (
            torch.randn(8, DIM, generator=generator, dtype=torch.float64),
            torch.randint(classes, (8,), generator=generator),
        )


def trained(loss, optimizer, steps=6, each=lambda: None):
    for step, (embeddings, labels) in enumerate(batches(steps)):
        loss.key(0, step)
        optimizer.zero_grad()
        loss(embeddings, labels).loss.backward()
        each()
        optimizer.step()
    return loss.weight.detach()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_all_classes_it_is_the_dense_training_of_the_full_head(name):
    ours, torchs, options = OPTIMIZERS[name]
    full = losses.build("cosface", dim=DIM, classes=CLASSES, s=8.0).double()
    part = sampled(losses.build("cosface", dim=DIM, classes=CLASSES, s=8.0).double(), 1.0)
    start = full.weight.detach().clone()
    dense = trained(full, torchs(full.parameters(), **options))
    sparse = trained(part, ours(part.parameters(), **options))
    assert part.weight.grad.is_sparse
    assert (dense - start).abs().min() > 0
    torch.testing.assert_close(sparse, dense, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("at_once", [1, 4, 1000])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_row_moves_as_a_parameter_of_its_own(name, at_once, monkeypatch):
    """Beside an optimizer of torch's over one parameter for each row, without a gradient where it takes no part."""
    monkeypatch.setattr(rows, "AT_ONCE", at_once)
    ours, torchs, options = OPTIMIZERS[name]
    loss = losses.build("partial_fc", dim=DIM, classes=CLASSES, rate=0.3, s=8.0).double()
    alone = [nn.Parameter(row.clone()) for row in loss.weight.detach()]
    naive = torchs(alone, **options)
    taken = []

    def follow():
        gradient = loss.weight.grad.to_dense()
        taken.append(set(loss.weight.grad._indices().flatten().tolist()))
        for index, row in enumerate(alone):
            row.grad = gradient[index].clone() if index in taken[-1] else None
        naive.step()

    weight = trained(loss, ours(loss.parameters(), **options), each=follow)
    assert all(len(part) == 9 for part in taken)
    assert any(index in taken[0] and index not in taken[1] and index in taken[2] for index in range(CLASSES))
    assert len(set.union(*taken)) > 20
    torch.testing.assert_close(weight, torch.stack([row.detach() for row in alone]), rtol=1e-12, atol=1e-13)


def test_a_row_that_takes_no_part_does_not_decay():
    loss = losses.build("partial_fc", dim=DIM, classes=CLASSES, rate=0.1).double()
    start = loss.weight.detach().clone()
    after = trained(loss, rows.SGD(loss.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1), steps=1)
    moved = (after != start).any(1)
    assert moved.nonzero().flatten().tolist() == loss.weight.grad._indices().flatten().tolist()
    assert 0 < moved.sum() < CLASSES


def given(seed=0):
    """Four parameters with dense gradients, and the same with those of the last two sparse."""
    generator = torch.Generator().manual_seed(seed)
    dense, mixed = [], []
    for taken in (None, None, [1, 2], [0, 2, 3]):
        start, gradient = torch.randn(2, 4, 3, generator=generator)
        index = torch.tensor(taken or [0, 1, 2, 3])
        whole, some = nn.Parameter(start), nn.Parameter(start.clone())
        whole.grad = torch.zeros(4, 3).index_copy(0, index, gradient[index])
        if taken is None:
            some.grad = whole.grad.clone()
        else:
            (take(some, index) * gradient[index]).sum().backward()
        dense.append(whole)
        mixed.append(some)
    return dense, mixed


@pytest.mark.parametrize("most", [0.5, 1e6, float("inf")])
def test_clipping_is_that_of_the_dense_gradients(most):
    dense, mixed = given()
    expected = nn.utils.clip_grad_norm_(dense, most)
    torch.testing.assert_close(clip_gradients(mixed, most), expected)
    assert expected > 0.5
    for one, other in zip(mixed, dense, strict=True):
        torch.testing.assert_close(one.grad.to_dense(), other.grad)
    assert mixed[2].grad.is_sparse


def test_dense_parameters_move_as_torch_moves_them():
    for ours, torchs, options in OPTIMIZERS.values():
        dense, mixed = given()
        torchs(dense[:2], **options).step()
        ours(mixed, **options).step()
        assert all(torch.equal(one, other) for one, other in zip(mixed[:2], dense[:2], strict=True))


def test_a_row_taken_twice_is_clipped_and_moved_once_by_the_sum():
    """As the rows of ``torch.nn.Embedding(sparse=True)`` may be."""
    norms, weights = [], []
    for sparse in (True, False):
        weight = nn.Parameter(torch.arange(12.0).view(4, 3))
        part = nn.functional.embedding(torch.tensor([2, 0, 2, 3]), weight, sparse=sparse)
        (part.sum(1) @ torch.tensor([1.0, 1.0, 10.0, 10.0])).backward()
        assert weight.grad.is_sparse == sparse
        norms.append(clip_gradients([weight], 5.0))
        rows.SGD([weight], lr=0.1, momentum=0.9).step()
        weights.append(weight.detach())
    torch.testing.assert_close(norms[0], norms[1])
    torch.testing.assert_close(weights[0], weights[1])


@pytest.mark.parametrize("together", [True, False])
def test_the_gradients_of_two_passes_are_added_up(together):
    weight = nn.Parameter(torch.arange(12.0).view(4, 3))
    terms = [take(weight, torch.tensor(index)).sum() * factor for index, factor in (([0, 2], 1.0), ([2, 3], 10.0))]
    for total in [sum(terms)] if together else terms:
        total.backward()
    rows.SGD([weight], lr=1.0).step()
    assert (torch.arange(12.0).view(4, 3) - weight.detach())[:, 0].tolist() == [1.0, 0.0, 11.0, 10.0]


def test_a_closure_is_asked_first_and_its_value_handed_back():
    loss = losses.build("partial_fc", dim=DIM, classes=CLASSES, rate=0.1).double()
    (embeddings, labels), start = next(batches(1)), loss.weight.detach().clone()

    def closure():
        value = loss(embeddings, labels).loss
        value.backward()
        return value.detach()

    for make in (rows.SGD, rows.AdamW):
        assert make(loss.parameters(), lr=0.1).step(closure) > 0
    assert (loss.weight != start).any()
