"""Distances between all rows of a batch, at the speed of a matrix product and as exact as taken one by one.

||x - y||^2 = ||x||^2 + ||y||^2 - 2 x.y costs one product, but cancels where x and y are close: in float32 two equal
unit vectors come out 3e-4 apart. So those close pairs, and only those, are measured by their difference, and their
gradient is too. Centering the batch first changes no distance and leaves fewer pairs that are close for their length.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CLOSE = 1 / 8  # of the squared length: beyond, cancellation costs less than a factor of 16 in accuracy, 4e-6 in float32
MOST_CLOSE = 1 / 16  # of the pairs of a block; with more of them the direct way is the faster one
FEW = 1 / 64  # of all pairs have a gradient where a miner has picked; taking them one by one is faster then
BLOCK = 2**18  # numbers of a block: 1 MiB of float32 stays in the cache of a CPU core
GPU_BLOCK = 2**24  # enough to fill a GPU; sums of so many ones are still exact in float32


def row_blocks(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Slices of ``rows``, in order, such that a block [b,columns] has at most :data:`BLOCK` numbers, or one row."""
    size = max(1, (BLOCK if device.type == "cpu" else GPU_BLOCK) // max(columns, 1))
    return (slice(start, start + size) for start in range(0, rows, size))


def distances(vectors: Tensor) -> Tensor:
    """Euclidean distances [B,B] between the rows of ``vectors`` [B,D]; equal rows: exactly 0, with gradient 0."""
    return _measure(vectors, root=True)


def squared_distances(vectors: Tensor) -> Tensor:
    """Squared Euclidean distances [B,B] between the rows of ``vectors`` [B,D]; equal rows: exactly 0."""
    return _measure(vectors, root=False)


Entries = list[tuple[Tensor, Tensor]]  # for each block of rows: row in the block, column


def _measure(vectors: Tensor, root: bool) -> Tensor:
    centered = vectors.detach() - vectors.detach().mean(0)
    found = _squares(vectors.detach(), centered)
    if found is None:
        direct = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
        return direct if root else direct.square()
    squares, close = found
    values = squares.sqrt_() if root else squares
    measured: Tensor = _Distances.apply(vectors, values, centered, close, root)  # type: ignore[no-untyped-call]
    return measured


def _squares(vectors: Tensor, centered: Tensor) -> tuple[Tensor, Entries] | None:
    """Squared distances [B,B] and the entries that were measured directly; None if that would be too many."""
    count = len(centered)
    length = centered.square().sum(1)  # [B]
    if not length.amax() < torch.finfo(length.dtype).max / 8:  # the product would overflow, or is not a number
        return None
    squares = centered.new_empty(count, count)
    close: Entries = []
    for rows in row_blocks(count, count, centered.device):
        block = squares[rows]  # [b,B]
        torch.addmm(length, centered[rows], centered.T, alpha=-2, out=block).add_(length[rows].unsqueeze(1))
        row, column = (block <= CLOSE * length[rows].unsqueeze(1)).nonzero(as_tuple=True)
        if len(row) > MOST_CLOSE * block.numel() + len(block):  # the diagonal is always among them
            return None
        block[row, column] = (vectors[rows][row] - vectors[column]).square().sum(1)  # centering has rounded them
        close.append((row, column))
    return squares, close


class _Distances(torch.autograd.Function):
    """Measured distances, or their squares, with their gradient: sum over j of (g_ij + g_ji) slope_ij (x_i - x_j)."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, values: Tensor, centered: Tensor, close: Entries, root: bool) -> Tensor:
        ctx.mark_dirty(values)  # handed on as it is
        ctx.save_for_backward(vectors, centered, *([values] if root else []))
        ctx.close = close
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None, None]:
        vectors, centered, *values = ctx.saved_tensors
        gradient = torch.zeros_like(vectors)
        if outer.count_nonzero() <= FEW * outer.numel():
            row, column = outer.nonzero(as_tuple=True)
            slope = _slope(outer[row, column], *(value[row, column] for value in values))
            _pull(gradient, vectors, torch.cat([row, column]), torch.cat([column, row]), slope.repeat(2))
            return gradient, None, None, None, None
        turned = outer.T.contiguous()
        for rows, (row, column) in zip(row_blocks(len(outer), len(outer), outer.device), ctx.close, strict=True):
            both, measured = outer[rows] + turned[rows], [value[rows] for value in values]  # [b,B]
            close = _slope(both[row, column], *(value[row, column] for value in measured))
            slope = both.div_(measured[0]) if measured else both.mul_(2)
            slope[row, column] = 0
            gradient[rows] = slope.sum(1, keepdim=True) * centered[rows] - slope @ centered
            _pull(gradient, vectors, row + rows.start, column, close)
        return gradient, None, None, None, None


def _slope(outer: Tensor, distance: Tensor | None = None) -> Tensor:
    """What multiplies x - y in the gradient of ||x - y||, or without ``distance`` of ||x - y||^2; [M] -> [M]."""
    return 2 * outer if distance is None else torch.where(distance > 0, outer / distance, 0.0)


def _pull(gradient: Tensor, vectors: Tensor, row: Tensor, column: Tensor, slope: Tensor) -> None:
    """Add slope (x_row - x_column) to the rows of ``gradient`` [B,D]; all [M]."""
    for block in row_blocks(len(row), vectors.shape[1], vectors.device):
        apart = vectors[row[block]].sub_(vectors[column[block]])
        gradient.index_add_(0, row[block], apart.mul_(slope[block].unsqueeze(1)))
