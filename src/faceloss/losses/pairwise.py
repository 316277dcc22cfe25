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
BLOCK = 2**18  # numbers of a block: 1 MiB of float32 stays in the cache of a CPU core
GPU_BLOCK = 2**25  # enough to fill a GPU


def row_blocks(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Slices of ``rows``, in order, such that a block [b,columns] has at most :data:`BLOCK` numbers, or one row."""
    size = max(1, (BLOCK if device.type == "cpu" else GPU_BLOCK) // max(columns, 1))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


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
    """Measured distances, or their squares, with their gradient: sum over j of (g_ij + g_ji) d'_ij (x_i - x_j)."""

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
        gradient, turned = torch.empty_like(centered), outer.T.contiguous()
        blocks = row_blocks(len(centered), len(centered), centered.device)
        for rows, (row, column) in zip(blocks, ctx.close, strict=True):
            slope = outer[rows] + turned[rows]  # [b,B]
            slope = slope.div_(values[0][rows]) if values else slope.mul_(2)
            direct = slope[row, column]
            slope[row, column] = 0
            gradient[rows] = slope.sum(1, keepdim=True) * centered[rows] - slope @ centered
            apart = vectors[rows][row] - vectors[column]
            direct = direct.where(apart.any(1), 0.0)  # where 1/0 is the slope of a root
            gradient[rows] = gradient[rows].index_add(0, row, direct.unsqueeze(1) * apart)
        return gradient, None, None, None, None
