"""The classes of a head spread over processes: each holds a share of the rows, all see the whole batch.

Every process computes the same loss on the same gathered batch, but the matrix batch x classes only for its own
classes. What is summed over classes is then summed over processes, so a margin, which needs the target's cosine and the
log sum exp of the others, costs some numbers for each sample:

    R = log sum over processes of exp(R_r),   own row w_y = sum over processes of (w_y where it is held, else 0)

Two maps carry the gradients (Shoeybi et al., "Megatron-LM", 2019, call them f and g): ``copy``, the identity whose
gradient is summed over the processes, leads from what all have alike to what each computes for its classes; ``sum``,
whose gradient is the identity, leads back. So what lies outside, margins, norms, losses of another kind, has the whole
gradient on every process and needs no thought of them.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from faceloss.errors import BadInput


class Shards(NamedTuple):
    """Which of the ``classes`` this process holds: those from ``low`` to ``high`` - 1."""

    low: int
    high: int
    classes: int
    group: dist.ProcessGroup | None = None  # None: all processes

    def column(self, labels: Tensor) -> Tensor:
        """Labels [B] -> their place among the classes held here, -1 for others."""
        return torch.where((labels >= self.low) & (labels < self.high), labels - self.low, -1)

    def copy(self, tensor: Tensor) -> Tensor:
        """The identity; its gradient is summed over the processes."""
        copied: Tensor = _Copy.apply(tensor, self.group) if tensor.requires_grad else tensor  # type: ignore[no-untyped-call]
        return copied

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes; its gradient is the identity."""
        summed: Tensor = _Sum.apply(tensor, self.group)  # type: ignore[no-untyped-call]
        return summed

    def largest(self, tensor: Tensor) -> Tensor:
        """The largest over the processes, without gradient."""
        most = tensor.detach().clone()
        dist.all_reduce(most, dist.ReduceOp.MAX, self.group)
        return most

    def log_sum_exp(self, values: Tensor) -> Tensor:
        """log sum exp over the processes, elementwise; where all are -inf: -inf, without gradient."""
        top = self.largest(values).clamp_min(torch.finfo(values.dtype).min)
        whole = self.sum((values - top).exp())
        alone = whole == 0
        return torch.where(alone, -math.inf, top + torch.where(alone, 1.0, whole).log())


def share(classes: int, rank: int, size: int, group: dist.ProcessGroup | None = None) -> Shards:
    """The classes of process ``rank`` of ``size``: as many as of any other but for the last, as ``torch.chunk`` has it.

    Raises:
        BadInput: a process would have none.
    """
    each = math.ceil(classes / size)
    low, high = min(rank * each, classes), min((rank + 1) * each, classes)
    if each * (size - 1) >= classes:
        raise BadInput(
            f"{classes} classes cannot be spread over {size} processes, {each} to each: the last would have none; "
            f"start {math.ceil(classes / each)} processes or fewer."
        )
    return Shards(low, high, classes, group)


_place: ContextVar[tuple[int, int, dist.ProcessGroup | None] | None] = ContextVar("place", default=None)
AT_ONCE = 2**20  # numbers drawn at a time; a multiple of 16, which is what PyTorch makes normal numbers in


@contextmanager
def holding(rank: int, size: int, group: dist.ProcessGroup | None = None) -> Iterator[None]:
    """Losses built within it have of their learnt class vectors the rows alone that process ``rank`` of ``size`` holds.

    The others are never in memory together, and the rows are those of the whole loss to the bit. A ``size`` of 1: all.
    """
    token = _place.set((rank, size, group) if size > 1 else None)
    try:
        yield
    finally:
        _place.reset(token)


def held(classes: int) -> Shards | None:
    """Of which of ``classes`` a head that is built now has the rows; None: of all.

    Raises:
        BadInput: see :func:`share`.
    """
    place = _place.get()
    return None if place is None else share(classes, *place)


def table(rows: int, dim: int, shards: Shards | None = None) -> Tensor:
    """Class vectors [R,D] to start with, normal and of norm about 1, drawn by torch's generator; the rows held here.

    They are drawn some at a time in the order of the whole table [rows,D], whoever holds them, so that they do not
    depend on the number of processes, and that what is drawn next does not either.
    """
    each = rows // shards.classes if shards else 0  # rows of a class
    low, high = (shards.low * each * dim, shards.high * each * dim) if shards else (0, rows * dim)
    numbers = torch.empty(high - low)
    if numbers.is_meta:
        return numbers.view(-1, dim)
    start, end = 0, rows * dim
    while start < end:
        stop = start + AT_ONCE if end - start >= 2 * AT_ONCE else end  # the last are never fewer than 16 of many
        drawn = torch.randn(stop - start)
        first, last = max(start, low), min(stop, high)
        if first < last:
            numbers[first - low : last - low] = drawn[first - start : last - start] / dim**0.5
        start = stop
    return numbers.view(-1, dim)


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed, group=ctx.group)
        return summed, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        summed = tensor.contiguous().clone()
        dist.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def gather(share: Tensor, counts: list[int], group: dist.ProcessGroup | None = None) -> Tensor:
    """The batch [B,...] from the processes' parts of it, ``counts`` samples from each, in their order.

    Every process has the whole gradient of the batch; each passes on that of its own part, so that gradients of a
    network are to be *summed* over the processes, not averaged.
    """
    gathered: Tensor = _Gather.apply(share, counts, group)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, counts: list[int], group: dist.ProcessGroup | None) -> Tensor:
        rank = dist.get_rank(group)
        ctx.part = (sum(counts[:rank]), sum(counts[: rank + 1]))
        padded = share.new_zeros(max(counts), *share.shape[1:])  # gloo and NCCL gather equal parts only
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        low, high = ctx.part
        return gradient[low:high], None, None
