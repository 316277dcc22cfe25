"""AM-LFS: the target cosine and the target probability each pass through a searched piecewise linear function.

    loss = mean of -log tau(p),  p = exp(z_y) / ( exp(z_y) + sum_{j != y} exp(||w_j|| ||x|| c_j) )
    z_y  = ||w_y|| ||x|| t(c_y)
    t(c) = t_slope_i c + t_offset_i          for c in the i-th of ``bins`` equal parts of [-1, 1]
    tau(p) = tau_slope_i p + tau_offset_i    for p in the i-th of ``bins`` equal parts of [0, 1]

x [B,D] embedding as it comes, w_j [K,D] class vectors, c_j [B,K] cosines, y [B] label. The 4 * bins numbers are
hyperparameters (t_slope_0, t_offset_0, tau_slope_0, ...); they start at slopes 1 and offsets 0, where the loss is
softmax without bias. Here is the loss at given numbers; the search for them is the training's. Nothing makes the
functions continuous or keeps tau(p) below p or 1, as published: the loss may jump, and be negative.

Paper: Li et al., "AM-LFS: AutoML for Loss Function Search", ICCV 2019, as a public summary tells it; there is no
official code. That it used 6 bins is recalled, not looked up.
Family: search.
Batches: shuffled.
Deviations: slopes of tau are above 0, and a tau(p) below 1e-12 (an offset below 0 can do that) counts as 1e-12, without
gradient. Where an offset of tau is 0, log tau(p) is log p + log slope, so that no probability underflows.
Checked: formula from a public summary, in part our reading; value and gradient against loops in its test.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead

SMALLEST = 1e-12


def target(cos: Tensor, hyperparameters: Mapping[str, Tensor]) -> Tensor:
    """t(c), [B] -> [B]."""
    slope, offset = _piece("t", (cos + 1) / 2, hyperparameters)
    return slope * cos + offset


def probability(log_p: Tensor, hyperparameters: Mapping[str, Tensor]) -> Tensor:
    """log tau(p) from log p, [B] -> [B]."""
    slope, offset = _piece("tau", log_p.exp(), hyperparameters)
    through_zero = offset == 0
    changed = torch.where(through_zero, 1.0, slope * log_p.exp() + offset).clamp_min(SMALLEST)
    return torch.where(through_zero, log_p + slope.log(), changed.log())


def _piece(name: str, place: Tensor, hyperparameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Slope and offset [B] of the part of the function ``name`` in which ``place`` [B], in [0, 1], lies."""
    bins = len(hyperparameters) // 4
    part = (place.detach() * bins).long().clamp(0, bins - 1)
    pieces = [
        torch.stack([hyperparameters[f"{name}_{what}_{i}"] for i in range(bins)]).to(place.dtype)
        for what in ("slope", "offset")
    ]
    return pieces[0][part], pieces[1][part]


def build(dim: int, classes: int, *, bins: int = 6) -> Loss:
    """``bins``: number of equal parts of both functions, at least 1."""
    Number(bins, low=1).check("bins")
    numbers: dict[str, Number] = {}
    for i in range(bins):
        numbers |= {f"t_slope_{i}": Number(1.0), f"t_offset_{i}": Number(0.0)}
        numbers |= {f"tau_slope_{i}": Number(1.0, above=0), f"tau_offset_{i}": Number(0.0)}
    return ClassHead(
        dim,
        classes,
        scale="norm",
        unit_classes=False,
        psi=target,
        tau=probability,
        hyperparameters=numbers,
    )
