"""The draw of classes: all that are present, and every set of others as likely as any."""

from collections import Counter

import pytest
import torch
from torch import nn

from faceloss.losses.sampling import draw, take

DRAWS = 4000


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("wanted", "sets"), [(3, 10), (4, 10), (5, 5), (2, 5)])
def test_every_set_of_others_is_as_likely(wanted, sets):
    """Of 6 classes one is present, of which 1 to 4 of 5 others are drawn: those that take part, or those left out."""
    generator = seeded(0)
    present = torch.tensor([2, 2])
    seen = Counter(tuple(draw(6, present, wanted, generator).tolist()) for _ in range(DRAWS))
    assert len(seen) == sets
    assert all(2 in drawn and len(drawn) == wanted and list(drawn) == sorted(set(drawn)) for drawn in seen)
    expected = DRAWS / sets
    spread = (expected * (1 - 1 / sets)) ** 0.5
    assert all(abs(count - expected) < 4 * spread for count in seen.values())


@pytest.mark.parametrize(
    ("classes", "present", "wanted", "number"),
    [(5, [0, 1, 2, 3, 4], 2, 5), (5, [1, 3, 3], 1, 2), (5, [4], 9, 5), (1, [0], 2, 1), (4, [], 2, 2), (7, [6], 1, 1)],
)
def test_the_number_at_the_edges(classes, present, wanted, number):
    drawn = draw(classes, torch.tensor(present, dtype=torch.int64), wanted, seeded(0)).tolist()
    assert len(drawn) == number
    assert set(present) <= set(drawn) <= set(range(classes))


def test_a_draw_depends_on_its_generator_alone():
    one, same, other = (draw(1000, torch.tensor([7]), 100, seeded(seed)).tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_rows_of_a_parameter_have_a_sparse_gradient_of_any_order():
    weight, index = nn.Parameter(torch.randn(5, 3, dtype=torch.float64, generator=seeded(0))), torch.tensor([1, 4])
    (gradient,) = torch.autograd.grad(take(weight, index).pow(3).sum(), weight, create_graph=True)
    (wanted,) = torch.autograd.grad(weight[index].pow(3).sum(), weight, create_graph=True)
    assert gradient.is_sparse
    assert gradient._nnz() == 2
    torch.testing.assert_close(gradient.to_dense(), wanted)
    (flat,) = torch.autograd.grad(take(weight, index).sum(), weight)
    assert flat._values().is_contiguous()  # can be scaled in place
    (second,) = torch.autograd.grad(gradient.to_dense().square().sum(), weight)
    torch.testing.assert_close(second.to_dense(), torch.autograd.grad(wanted.square().sum(), weight)[0])
