"""The matrix of logits batch x classes of a head, which nobody sees whole: it is read in blocks of classes.

Rules of losses are functions of a block [B,c]; what they need of a whole row is a sum over it or a log sum exp.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from faceloss.losses import stream
from faceloss.losses.class_vectors import ClassVectors
from faceloss.losses.operations import normalize
from faceloss.losses.products import differentiable_inner
from faceloss.losses.sampling import spread_out
from faceloss.losses.shards import Shards

L = TypeVar("L", bound=nn.Module)
Change = Callable[[Tensor], Tensor]  # of logits [B,c], elementwise, -> [...,B,c]


@dataclass(frozen=True)
class Blocks:
    """How a head reads its classes.

    Attributes:
        classes: number of classes in a block. A block of some hundreds stays in a processor's cache.
        keep: bytes of batch x classes numbers that may be kept for the backward pass; beyond, they are computed again
            there, which costs a fourth matrix product in place of memory.
        product: type of the large matrix products. None: that of the embeddings, exact. torch.bfloat16: sums and the
            target's logit stay in float32, gradients are off by about 0.3 %; not where rules change single logits.
        stream: False reads the whole matrix at once in plain, twice differentiable operations: the definition.
    """

    classes: int = 512
    keep: int = 2**28
    product: torch.dtype | None = None
    stream: bool = True

    def __post_init__(self) -> None:
        if self.classes < 1 or self.keep < 0:
            raise ValueError(f"Blocks need at least 1 class and 0 bytes; given {self.classes} and {self.keep}.")
        if self.product not in (None, torch.bfloat16):
            raise ValueError(f"product must be None or torch.bfloat16; given {self.product}.")


class Read(NamedTuple):
    """What a pass over the matrix says of each sample; the last two have no gradient."""

    log_sum_exp: Tensor  # [...,B] over the other classes, of the changed logits; -inf where there is none
    total: Tensor  # [...,B] sum over the other classes of ``total``
    largest: Tensor  # [B] largest logit of another class, unchanged
    own: Tensor  # [B] logit of the own class, unchanged, computed as the others are


class Scores:
    """z_ij = x_i . v_j + b_j, with v_j = w_j / ||w_j|| or w_j; of several rows of a class the largest z counts.

    Args:
        features: x [B,D].
        vectors: the rows w and each sample's own class; a column of -1: the own class is not among these.
        unit: whether rows count as directions.
        bias: b [C] or None.
        blocks: how to read.
        shards: what is spread over processes; None: nothing. Rows and columns are then those held here, and what
            functions given to :meth:`read` and :meth:`total` use must have passed through ``shards.copy``.
    """

    def __init__(
        self,
        features: Tensor,
        vectors: ClassVectors,
        *,
        unit: bool,
        bias: Tensor | None,
        blocks: Blocks,
        shards: Shards | None = None,
    ):
        self.features = features if shards is None else shards.copy(features)
        self.vectors, self.unit, self.bias, self.blocks, self.shards = vectors, unit, bias, blocks, shards
        self.classes = len(vectors.rows) // vectors.each if vectors.chosen is None else len(vectors.chosen)

    def read(self, change: Change | None = None, total: Change | None = None) -> Read:
        """One pass: the log sum exp of ``change`` of the logits and the sum of ``total`` of them, each if asked for.

        ``change`` None: of the logits as they are.
        """
        if not self.classes:
            read = self._none(change or _unchanged, total or _nothing)
        elif change is None and total is None and self.vectors.each == 1 and self.blocks.stream:
            read = self._streamed()
        else:
            read = self._by_rule(change or _unchanged, total or _nothing)
        if self.shards is None:
            return read
        largest, own = self.shards.largest(torch.stack([read.largest, read.own]))
        summed = read.total if total is None else self.shards.sum(read.total)
        return Read(self.shards.log_sum_exp(read.log_sum_exp), summed, largest, own)

    def total(self, change: Change) -> Tensor:
        """The sum over the other classes of ``change`` of the logits, [...,B]."""
        return self.read(_nothing, change).total

    def _streamed(self) -> Read:
        kept = len(self.features) * self.classes * (self.blocks.product or self.features.dtype).itemsize
        rest = stream.log_sum_exp(
            self.features,
            self.vectors.rows,
            self.vectors.column,
            unit=self.unit,
            bias=self.bias,
            block=self.blocks.classes,
            keep=kept <= self.blocks.keep,
            product=self.blocks.product,
            chosen=self.vectors.chosen,
        )
        return Read(rest.log_sum_exp, self.features.new_zeros(()), rest.largest, rest.own)

    def _none(self, change: Change, total: Change) -> Read:
        """Of no classes, where Partial FC drew none of those held here; with a gradient, for which others wait."""
        nothing = self.features[:, :0]  # [B,0]
        least = self.features.new_full((len(nothing),), -math.inf)
        return Read(change(nothing).sum(-1) - math.inf, total(nothing).sum(-1), least, least)

    def _by_rule(self, change: Change, total: Change) -> Read:
        """Plain operations on each block, which autograd differentiates; large matrices are computed again for it."""
        column, each = self.vectors.column, self.vectors.each
        step = min(self.blocks.classes, self.classes) if self.blocks.stream else self.classes
        # A rule keeps several numbers of each entry, not one.
        again = self.blocks.stream and 4 * len(self.features) * self.classes * 4 > self.blocks.keep

        def part(rows: Tensor, bias: Tensor | None, low: int) -> tuple[Tensor, ...]:
            z = differentiable_inner(self.features, normalize(rows) if self.unit else rows)  # [B,c*each]
            z = z if each == 1 else z.view(len(z), -1, each).amax(2)  # [B,c]
            z = z if bias is None else z + bias
            mine = column.unsqueeze(1) == torch.arange(low, low + z.shape[1], device=z.device)  # [B,c]
            changed = change(z).masked_fill(mine, -math.inf)
            # The shift has no gradient: it cancels. Its floor is for a sample whose own class is all of this block.
            peak = changed.detach().amax(-1).clamp_min(torch.finfo(z.dtype).min)  # [...,B]
            sums = (changed - peak.unsqueeze(-1)).exp().sum(-1)
            plain = z.detach()
            return (
                peak,
                sums,
                total(z).masked_fill(mine, 0.0).sum(-1),
                plain.masked_fill(mine, -math.inf).amax(-1),
                plain.masked_fill(~mine, -math.inf).amax(-1),
            )

        rows = torch.split(self.vectors.taken().rows, step * each)
        biases = [None] * len(rows) if self.bias is None else torch.split(self.bias, step)
        parts: list[Any] = []
        for index, (some, bias) in enumerate(zip(rows, biases, strict=True)):
            given = (some, bias, index * step)
            parts.append(checkpoint(part, *given, use_reentrant=False) if again else part(*given))
        peaks, sums, totals, largest, own = (torch.stack(column) for column in zip(*parts, strict=True))
        top = peaks.amax(0)
        whole = (sums * (peaks - top).exp()).sum(0)
        alone = whole == 0  # no other class
        value = torch.where(alone, -math.inf, top + torch.where(alone, 1.0, whole).log())
        return Read(value, totals.sum(0), largest.amax(0), own.amax(0))


class Listed(NamedTuple):
    """Scores of the other classes that are at hand [B,K-1], for those who ask a rule what it does to them."""

    others: Tensor

    def total(self, change: Change) -> Tensor:
        """The sum over the other classes of ``change`` of the scores, [...,B]."""
        return change(self.others).sum(-1)


def read_in(loss: L, blocks: Blocks) -> L | None:
    """``loss`` itself, whose classes are read in ``blocks`` from now on; None: it has no classes to read."""
    heads = [part for part in loss.modules() if isinstance(getattr(part, "blocks", None), Blocks)]
    for head in heads:
        head.blocks = blocks  # type: ignore[assignment]
    return loss if heads else None


def own_rows(vectors: ClassVectors, blocks: Blocks, shards: Shards | None = None) -> tuple[Tensor, ClassVectors]:
    """The rows of each sample's own class, [B,D] or [B,each,D], and the vectors to read the others from.

    Their gradients meet in one tensor: taking rows in the plain way would make a second one of all classes.
    """
    if not blocks.stream or not vectors.rows.requires_grad:
        vectors = vectors.taken()
        own = _take(*vectors)
    else:
        own, rows = _Own.apply(*vectors)  # type: ignore[no-untyped-call]
        vectors = vectors._replace(rows=rows)
    return own if shards is None else shards.sum(own), vectors


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, column: Tensor, each: int, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(column, chosen)
        ctx.facts = (rows.shape, each)
        ctx.set_materialize_grads(False)
        return _take(rows, column, each, chosen), rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, own: Tensor | None, rows: Tensor | None) -> tuple[Tensor | None, None, None, None]:
        column, chosen = ctx.saved_tensors
        shape, each = ctx.facts
        if own is None:
            return rows, None, None, None
        # In place: what arrives was made by the readers of this module for this one use.
        if rows is None:
            zeros = own.new_zeros(shape if chosen is None else (len(chosen), shape[1]))
            rows = zeros if chosen is None else spread_out(chosen, zeros, shape)
        values = rows if chosen is None else rows._values()
        here = column >= 0
        values.view(-1, each, shape[1]).index_add_(0, column[here], own.view(len(own), each, -1)[here])
        return rows, None, None, None


def _take(rows: Tensor, column: Tensor, each: int, chosen: Tensor | None) -> Tensor:
    count = len(rows) // each if chosen is None else len(chosen)
    if not count:  # none of the classes held here was drawn
        return rows.new_zeros(len(column), rows.shape[1]) + 0 * rows[:0].sum()
    place = column.clamp_min(0) if chosen is None else chosen[column.clamp_min(0)]
    taken = rows.view(-1, each, rows.shape[1])[place]  # [B,each,D]
    taken = torch.where((column >= 0).view(-1, 1, 1), taken, 0.0)
    return taken.squeeze(1) if each == 1 else taken


def _unchanged(logits: Tensor) -> Tensor:
    return logits


def _nothing(logits: Tensor) -> Tensor:
    return logits.new_zeros(()).expand(logits.shape)
