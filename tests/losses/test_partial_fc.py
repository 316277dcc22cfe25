"""Partial FC: which classes take part, and the formula over those."""

import math

import pytest
import torch

from faceloss import losses
from faceloss.losses.class_vectors import Sampled


def chosen(loss, labels):
    """The rows that take part in the next training pass: drawn again from the key of the pass."""
    marked = torch.arange(loss.classes, dtype=torch.float64).unsqueeze(1)
    drawn = loss.vectors(marked, labels, loss.generator, loss.training)
    assert torch.equal(drawn.rows[drawn.column].squeeze(1).long(), labels)
    return [int(row) for row in drawn.rows]


def naive(loss, embeddings, labels):
    loss.key(0, 0)
    s, m = (float(loss.hyperparameters()[name]) for name in "sm")
    part = chosen(loss, labels)
    total = 0.0
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        cos = {j: (loss.weight[j] * x).sum() / (loss.weight[j].norm() * x.norm()) for j in part}
        others = sum((s * c).exp() for j, c in cos.items() if j != y)
        own = (s * (cos[y] - m)).exp()
        total = total - torch.log(own / (own + others))
    return total / len(labels)


@pytest.mark.parametrize(("classes", "rate"), [(40, 0.3), (40, 0.05), (4, 0.1)])
def test_agrees_with_its_formula(agrees, classes, rate):
    agrees(losses.build("partial_fc", dim=6, classes=classes, rate=rate), naive)


def test_by_hand(batch):
    """40 classes at rate 0.3 are 12; the 4 of the batch are among them, 36 in 40 others share the 8 places left."""
    loss = losses.build("partial_fc", dim=6, classes=40, rate=0.3)
    parts = []
    for step in range(300):
        loss.key(1, step)
        parts.append(set(chosen(loss, batch[1])))
    assert {len(part) for part in parts} == {12}
    assert all({0, 1, 2, 3} <= part for part in parts)
    often = torch.tensor([sum(j in part for part in parts) for j in range(4, 40)]) / 300
    expected = 8 / 36
    assert (often - expected).abs().max() < 5 * math.sqrt(expected * (1 - expected) / 300)


@pytest.mark.parametrize(("margin", "m"), [("cosface", 0.4), ("arcface", 0.5)])
def test_with_all_classes_it_is_its_margin(batch, margin, m):
    plain = losses.build(margin, dim=6, classes=40, m=m, seed=1).double()(*batch).loss
    whole = losses.build("partial_fc", dim=6, classes=40, m=m, rate=1.0, margin=margin, seed=1).double()
    part = losses.build("partial_fc", dim=6, classes=40, m=m, margin=margin, seed=1).double()
    torch.testing.assert_close(whole(*batch).loss, plain, rtol=1e-12, atol=0)
    assert part(*batch).loss < plain
    torch.testing.assert_close(part.eval()(*batch).loss, plain, rtol=1e-12, atol=0)


def test_each_label_finds_its_own_row(batch):
    """Labels far apart, so that the place of a class among those that take part is not its number."""
    loss = losses.build("partial_fc", dim=6, classes=40, rate=0.3).double()
    labels = torch.tensor([31, 5, 31, 17])
    expected = naive(loss, batch[0][:4], labels)
    loss.key(0, 0)
    assert chosen(loss, labels).index(31) != 31
    torch.testing.assert_close(loss(batch[0][:4], labels).loss, expected, rtol=1e-10, atol=0)


def test_rows_that_take_no_part_get_no_gradient(batch):
    loss = losses.build("partial_fc", dim=6, classes=40, rate=0.3)
    part = chosen(loss, batch[1])
    loss(batch[0].float(), batch[1]).loss.backward()
    assert loss.weight.grad.abs().sum(1).nonzero().flatten().tolist() == part


def test_a_batch_of_one_identity_still_has_something_to_tell_apart():
    drawn = Sampled(0.01)(torch.eye(5), torch.tensor([3, 3]), lambda _: torch.Generator().manual_seed(0), True)
    assert len(drawn.rows) == 2
    assert drawn.rows[drawn.column][:, 3].tolist() == [1.0, 1.0]
