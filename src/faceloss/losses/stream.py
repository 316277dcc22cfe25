"""The log sum exp over all other classes of a head, block of classes by block, with its gradient made on the way.

    R_i = log sum_{j != y_i} exp(x_i . v_j + b_j),   v_j = w_j / ||w_j|| or w_j

Nothing that a margin does is in R, so this is where the time and the memory of a classification loss go. The matrix
batch x classes is never passed over as a whole: each block of classes is multiplied, exponentiated, summed and
multiplied back while it is in the processor's cache. With E_ij = exp(x_i . v_j + b_j - M_i) and M_i the largest logit
so far,

    forward    Z = X V', E = exp(Z - M), S += sum_j E, A += E V        R = M + log S,  dR_i / dx_i = A_i / S_i
    backward   dV = E' (X g / S)                                       then through the normalization of each row

which are three matrix products where E is kept [B,C], and four where it is made again. Powers of 2 in place of e: four
times as fast on a processor with AVX-512, and as exact.
"""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from faceloss.losses.operations import SMALLEST_NORM
from faceloss.losses.products import add_inner, inner
from faceloss.losses.sampling import spread_out

LOG2E = 1 / math.log(2)
HEADROOM = 6.0  # bits between the largest sum of a bounded head and the largest number
AHEAD = 40.0  # bits by which a logit may exceed the largest of the blocks before without a second look


class Rest(NamedTuple):
    """What :func:`log_sum_exp` says of each sample; only the first has a gradient."""

    log_sum_exp: Tensor  # [B] over the other classes; -inf where there is none
    largest: Tensor  # [B] largest logit of another class
    own: Tensor  # [B] logit of the own class, computed as the others are


def log_sum_exp(
    features: Tensor,
    rows: Tensor,
    column: Tensor,
    *,
    unit: bool,
    bias: Tensor | None,
    block: int,
    keep: bool,
    product: torch.dtype | None = None,
    chosen: Tensor | None = None,
) -> Rest:
    """R of each sample, see above; exact to rounding, whatever the inputs and the block.

    Args:
        features: x [B,D], float32 or float64, scale included.
        rows: w [C,D], of the same type.
        column: y [B] in 0 .. C-1, or -1 where the own class is not among these.
        unit: whether rows count as directions; a zero row stays zero and gets no gradient.
        bias: b [C] or None.
        block: number of classes in a block, at least 1.
        keep: whether E [B,C] is kept for the backward pass, or made again there.
        product: the type of the matrix products and of E, by default that of ``features``. With bfloat16 sums stay in
            the type of ``features``, and gradients are off by some 0.3 %.
        chosen: [C], rising: which of the rows [K,D] are meant; they are gathered block by block, and the gradient of
            ``rows`` is sparse.

    A second derivative is not available; the dense form (``Blocks(stream=False)``) has all of them.
    """
    largest: Tensor
    value, largest, own = _Stream.apply(  # type: ignore[no-untyped-call]
        features, rows, bias, column, unit, block, keep, product or features.dtype, chosen
    )
    return Rest(value, largest, own)


class _Stream(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        rows: Tensor,
        bias: Tensor | None,
        column: Tensor,
        unit: bool,
        block: int,
        keep: bool,
        product: torch.dtype,
        chosen: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, classes = len(features), len(rows) if chosen is None else len(chosen)
        wanted = any(ctx.needs_input_grad[:3])
        keep = keep and wanted
        edges = [*range(0, classes, block), classes]
        order = column.argsort()
        cuts = torch.searchsorted(column[order], torch.tensor(edges, device=column.device)).tolist()
        lengths = features.new_ones(classes, 1) if unit else None  # [C,1] of 1 / ||w_j||
        x = (features * LOG2E).to(product)
        for_gradient = rows.shape[1] * rows.itemsize if keep and ctx.needs_input_grad[1] else 0  # bytes of a class
        kept, memory = _memory(x, classes if keep else min(block, classes), for_gradient)

        bounded = unit and bias is None and product == features.dtype and _bounded(features, classes)
        shift = features.new_zeros(batch)  # M
        unset = torch.full_like(shift, not bounded, dtype=torch.bool)  # no logit seen yet
        total, pull = torch.zeros_like(shift), torch.zeros_like(features)  # S, A
        largest, own = torch.full_like(shift, -math.inf), torch.full_like(shift, -math.inf)
        shifts = []
        for index, (low, high) in enumerate(pairwise(edges)):
            here = order[cuts[index] : cuts[index + 1]]  # the samples whose own class is in this block
            entry = (column[here] - low, here)
            v = _directions(_part(rows, chosen, low, high), lengths, low, high).to(product)  # [c,D]
            e = kept[low:high] if keep else kept[: high - low]  # [c,B]
            b = None if bias is None else bias[low:high]
            z, mine = _logits(v, x, b, None if bounded else shift, entry, e)
            own[here] = mine.to(shift.dtype) + shift[here]
            peak = z.amax(0).to(shift.dtype)  # [B], less M
            largest = torch.maximum(largest, shift + peak)
            if not bounded:
                leap = torch.where((peak > AHEAD) | (unset & (peak > -math.inf)), peak, 0.0)
                unset = unset & (peak == -math.inf)
                if bool(leap.any()):
                    before, (total, pull, shift) = shift, _raised(total, pull, shift, leap, product)
                    z, _ = _logits(v, x, b, shift, entry, e)  # anew: a difference keeps the rounding of larger ones
                    z.clamp_max_(AHEAD)  # of huge numbers the second rounding may differ by more than that
                    peak = (peak - (shift - before)).clamp_max(AHEAD)
            torch.exp2(z, out=e)
            total += e.sum(0, dtype=total.dtype)
            if wanted:
                add_inner(pull, e.T, v.T)
            shifts.append(shift)
            if not bounded and bool((peak > 1).any()):  # for the blocks to come; by less does not pay
                total, pull, shift = _raised(total, pull, shift, peak.clamp_min(0), product)
        value = shift + total.log2()  # -inf where no other class is
        ctx.save_for_backward(features, rows, bias, column, value, pull, shift, lengths, chosen)
        ctx.facts = (edges, cuts, order, shifts, bounded, product)
        ctx.kept = (kept, memory) if keep else None  # not saved as the others are: the gradient is written over it
        ctx.mark_non_differentiable(largest, own)
        return value / LOG2E, largest / LOG2E, own / LOG2E

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        features, rows, bias, column, value, pull, shift, lengths, chosen = ctx.saved_tensors
        edges, cuts, order, shifts, bounded, product = ctx.facts
        kept: Any
        memory: Any
        (kept, memory), ctx.kept = ctx.kept or (None, None), None  # a second backward pass makes E again
        grad_rows, upward = None, True
        if ctx.needs_input_grad[1] and kept is None:
            grad_rows = rows.new_empty(edges[-1], rows.shape[1])
        elif ctx.needs_input_grad[1]:
            grad_rows = memory[: edges[-1] * rows.shape[1] * rows.itemsize].view(rows.dtype).view(edges[-1], -1)
            upward = grad_rows.nbytes <= kept.nbytes
        grad_bias = torch.empty_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        x = (features * LOG2E).to(product)
        again = None if kept is not None else x.new_empty(edges[1], len(x))

        def factor(shift: Tensor) -> Tensor:
            """g / S of each sample, for powers less ``shift``, [B]."""
            return torch.where(value > -math.inf, slope * (shift - value).exp2(), 0.0)

        last = None
        turns = list(enumerate(pairwise(edges))) if grad_rows is not None or grad_bias is not None else []
        for index, (low, high) in turns if upward else reversed(turns):
            if shifts[index] is not last:
                last = shifts[index]
                each = factor(last)
                weighted = (features * each.unsqueeze(1)).to(product)
            w = _part(rows, chosen, low, high)
            if again is None:
                e = kept[low:high]  # [c,B]
                if grad_rows is not None and _meet(e, grad_rows[low:high]):
                    e = e.clone()
            else:
                e = again[: high - low]
                v = _directions(w, lengths, low, high, known=True).to(product)
                here = order[cuts[index] : cuts[index + 1]]
                b = None if bias is None else bias[low:high]
                z = _logits(v, x, b, None if bounded else shifts[index], (column[here] - low, here), e)[0]
                e = torch.exp2(z if bounded else z.clamp_max_(AHEAD), out=e)
            if grad_bias is not None:
                torch.mv(e.to(each.dtype), each, out=grad_bias[low:high])
            if grad_rows is not None:
                to = grad_rows[low:high]
                g = inner(e, weighted.T, out=to if product == rows.dtype else None).to(rows.dtype)
                if lengths is not None:  # d w = (g - v (v . g)) / ||w||
                    inverse = lengths[low:high]
                    along = torch.linalg.vecdot(g, w).unsqueeze(1) * inverse.square()
                    g = torch.mul(g.addcmul_(w, along, value=-1), inverse, out=to)
                if g is not to:
                    to.copy_(g)
        grad_features = pull * factor(shift).unsqueeze(1) if ctx.needs_input_grad[0] else None
        if grad_rows is not None and chosen is not None:
            grad_rows = spread_out(chosen, grad_rows, rows.shape)
        return grad_features, grad_rows, grad_bias, None, None, None, None, None, None


def _memory(x: Tensor, classes: int, for_gradient: int) -> tuple[Tensor, Tensor]:
    """Memory for E' [c,B], and all of it as bytes, of which there are ``for_gradient`` for each class or more.

    The gradient of a block of rows is written where E of blocks that are done with was: what is needed is the larger of
    the two, not their sum. Where E has more bytes for a class than the gradient, the gradient of the first blocks never
    reaches blocks to come; else blocks are read from the last to the first.
    """
    each = len(x) * x.itemsize
    memory = torch.empty(classes * max(each, for_gradient), dtype=torch.uint8, device=x.device)
    return memory[: classes * each].view(x.dtype).view(classes, len(x)), memory


def _meet(one: Tensor, other: Tensor) -> bool:
    """Whether two contiguous tensors share memory."""
    start, begin = one.data_ptr(), other.data_ptr()
    return start < begin + other.nbytes and begin < start + one.nbytes


def _logits(
    v: Tensor, x: Tensor, bias: Tensor | None, shift: Tensor | None, entry: tuple[Tensor, Tensor], out: Tensor
) -> tuple[Tensor, Tensor]:
    """v . x + b - M [c,B], -inf at the own classes ``entry``, whose values come second; ``out`` may hold it or not.

    M is taken off inside the product, before that is rounded to bfloat16.
    """
    z = inner(v, x, None if shift is None else -shift.to(x.dtype), out)
    if bias is not None:
        z += (bias * LOG2E).to(x.dtype).unsqueeze(1)
    own = z[entry]
    z[entry] = -math.inf
    return z, own


def _raised(
    total: Tensor, pull: Tensor, shift: Tensor, leap: Tensor, product: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """S, A and M after M was raised by about ``leap``, to a number that ``product`` can hold; S and A may be 0 yet."""
    higher = (shift + leap).to(product).to(shift.dtype)
    fade = (shift - higher).clamp_max(0).exp2()  # M falls for the first logit only
    return total * fade, pull * fade.unsqueeze(1), higher


def _bounded(features: Tensor, classes: int) -> bool:
    """Whether all exp(x . v), |v| <= 1, and the sum over the classes are ordinary numbers, so that M = 0 will do."""
    most = math.log2(torch.finfo(features.dtype).max) - math.log2(classes) - HEADROOM
    return float(torch.linalg.vector_norm(features, dim=1).amax()) * LOG2E < most


def _part(rows: Tensor, chosen: Tensor | None, low: int, high: int) -> Tensor:
    """The rows of a block, [c,D]."""
    return rows[low:high] if chosen is None else rows.index_select(0, chosen[low:high])


def _directions(w: Tensor, lengths: Tensor | None, low: int, high: int, *, known: bool = False) -> Tensor:
    """v of a block; the inverse lengths go into ``lengths``, where they stay ``known`` to the backward pass."""
    if lengths is None:
        return w
    inverse = lengths[low:high]
    if not known:
        length = torch.linalg.vector_norm(w, dim=1, keepdim=True)
        torch.reciprocal(length.masked_fill_(length <= SMALLEST_NORM, math.inf), out=inverse)
    return w * inverse
