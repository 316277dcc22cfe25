"""Distances between all rows against differences taken one by one: far, close, equal and huge rows."""

import math

import pytest
import torch

from faceloss.losses import pairwise
from faceloss.losses.pairwise import distances, squared_distances

DTYPES = [torch.float32, torch.float64]
MEASURES = [distances, squared_distances]


def direct(rows, root):
    """The definition, [B,B,D] at once; the slope of a root at 0 is 0."""
    squared = (rows.unsqueeze(1) - rows.unsqueeze(0)).square().sum(2)
    if not root:
        return squared
    return torch.where(squared > 0, torch.where(squared > 0, squared, 1.0).sqrt(), 0.0)


def of_kind(kind):
    """24 unit rows of 128 numbers, float64."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(24, 128, generator=generator, dtype=torch.float64)
    noise = torch.randn(24, 128, generator=generator, dtype=torch.float64)
    if kind == "two of each":
        rows = rows[torch.arange(24) // 2] + 1e-4 * noise
    elif kind == "equal twins":
        rows = rows[torch.arange(24) // 2]
    elif kind == "one direction":
        rows = rows[:1] + 1e-3 * noise
    elif kind == "two spots":
        rows = rows[torch.arange(24) % 2] + 1e-5 * noise
    return torch.nn.functional.normalize(rows)


@pytest.mark.parametrize("picked", [0.01, 1.0])
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["apart", "two of each", "equal twins", "one direction", "two spots"])
def test_value_and_gradient_are_those_of_differences(kind, dtype, measure, picked):
    """Each distance, the small ones too, to its own relative accuracy; the gradient of all and of a few of them."""
    rows = of_kind(kind).to(dtype)
    exact = rows.double().clone().requires_grad_()
    wanted = direct(exact, measure is distances)
    slopes = torch.randn(24, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kept = torch.rand(24, 24, generator=torch.Generator().manual_seed(3)) < picked
    kept[0, 1:3] = True
    assert (int(kept.sum()) <= pairwise.FEW * 24**2) == (picked < 1)
    slopes *= kept
    wanted.backward(slopes)
    assert (wanted > 0).sum() >= 24 * 22
    given = rows.clone().requires_grad_()
    value = measure(given)
    value.backward(slopes.to(dtype))
    tolerance = 5e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(value.double(), wanted, rtol=tolerance, atol=1e-30)
    assert exact.grad.abs().max() > 0.1 or measure is squared_distances
    assert (given.grad.double() - exact.grad).norm() < 2 * tolerance * exact.grad.norm()


def test_only_close_rows_are_measured_one_by_one():
    """Both ways are taken above: else they would not be tested."""

    def close(kind):
        rows = of_kind(kind)
        found = pairwise._squares(rows, rows - rows.mean(0))
        return found and sum(len(row) for row, _ in found[1])

    assert close("apart") == close("one direction") == 24  # the diagonal
    assert close("two of each") == close("equal twins") == 48
    assert close("two spots") is None  # half of all pairs


@pytest.mark.parametrize("measure", MEASURES)
def test_blocks_of_any_size_agree(measure, monkeypatch):
    results = []
    for size in (1, 24 * 5, 10**6):
        monkeypatch.setattr(pairwise, "BLOCK", size)
        rows = of_kind("two of each").requires_grad_()
        value = measure(rows)
        value.square().sum().backward()
        results.append((value.detach(), rows.grad))
    assert results[0][1].abs().max() > 0
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("measure", MEASURES)
def test_distances_of_duplicates_are_zero_with_zero_slope(measure, dtype):
    rows = torch.randn(4, 512, generator=torch.Generator().manual_seed(0), dtype=dtype)
    rows = torch.cat([rows, rows, torch.zeros(2, 512, dtype=dtype)]).requires_grad_()
    matrix = measure(rows)
    assert matrix[0, 4] == matrix[8, 9] == 0
    matrix.sum().backward()
    assert torch.isfinite(rows.grad).all()


@pytest.mark.parametrize("length", [1e-30, 1e-18, 1e18, 1e30])
def test_lengths_whose_squares_overflow_or_vanish(length):
    """As torch.cdist has it: what vanishes is 0, what overflows infinite, and gradients are numbers."""
    rows = (length * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
    matrix = distances(rows)
    torch.testing.assert_close(matrix, torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist"))
    assert bool(matrix[0, 1] > 0) == (length > 1e-20)
    for chosen in (matrix[:1, :3], matrix):
        (gradient,) = torch.autograd.grad(chosen.sum(), rows, retain_graph=True)
        assert torch.isfinite(gradient).all()


def test_distances_agree_with_loops(batch):
    rows, _ = batch
    for measure, power in ((distances, 1), (squared_distances, 2)):
        matrix = measure(rows)
        for i, j in ((0, 1), (3, 7), (11, 2)):
            expected = math.dist(rows[i].tolist(), rows[j].tolist()) ** power
            assert math.isclose(matrix[i, j].item(), expected, rel_tol=1e-12)


def test_blocks_cover_the_rows_in_order(monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", 20)
    for rows, columns in ((0, 3), (1, 100), (7, 9), (40, 1)):
        blocks = list(pairwise.row_blocks(rows, columns, torch.device("cpu")))
        assert [row for block in blocks for row in range(rows)[block]] == list(range(rows))
        assert all(block.stop - block.start == max(1, 20 // columns) for block in blocks)
