"""AM-LFS: the target cosine and the target probability each pass through a searched piecewise linear function.

    loss = mean of -log tau(p),  p = exp(z_y) / ( exp(z_y) + sum_{j != y} exp(||w_j|| ||x|| c_j) )
    z_y  = ||w_y|| ||x|| t(c_y)
    t(c) = t_slope_i c + t_offset_i          for c in the i-th of ``bins`` equal parts of [-1, 1]
    tau(p) = tau_slope_i p + tau_offset_i    for p in the i-th of ``bins`` equal parts of [0, 1]

x [B,D] embedding as it comes, w_j [K,D] class vectors, c_j [B,K] cosines, y [B] label. The 4 * bins numbers are
hyperparameters (t_slope_0, t_offset_0, tau_slope_0, ...); they start at slopes 1 and offsets 0, where the loss is
softmax without bias. Here is the loss at given numbers; while it trains, ``candidates`` models are trained in each
epoch from the same weights, each with numbers drawn from a Gaussian of standard deviation ``deviation`` whose mean
follows the rewards in steps of Adam at ``rate``, and the one with the highest ``reward`` on the validation identities
goes on (``method`` "replay": what was so found under another seed). Nothing makes the functions continuous or keeps
tau(p) below p or 1, as published: the loss may jump, and be negative.

Paper: Li et al., "AM-LFS: AutoML for Loss Function Search", ICCV 2019, as a public summary tells it; there is no
official code. That it used 6 bins, sigma 0.2 and 32 candidates is recalled, not looked up.
Family: search.
Batches: shuffled.
Deviations: 4 candidates. Slopes of tau are at least 0.01, and a tau(p) below 1e-12 (an offset below 0 can do that)
counts as 1e-12, without gradient. Where an offset of tau is 0, log tau(p) is log p + log slope, so that no probability
underflows.
Checked: formula from a public summary, in part our reading; value and gradient against loops in its test.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.search.guided import Guided
from faceloss.search.policy import Policy, Values

SMALLEST = 1e-12
FLATTEST = 0.01  # slope of tau


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


def start(bins: int) -> Values:
    """The numbers at which the loss is softmax without bias."""
    numbers: Values = {}
    for i in range(bins):
        numbers |= {f"t_slope_{i}": 1.0, f"t_offset_{i}": 0.0, f"tau_slope_{i}": 1.0, f"tau_offset_{i}": 0.0}
    return numbers


def policy(seed: int, *, bins: int, candidates: int, deviation: float, rate: float, reward: str) -> Policy:
    """A Gaussian over all 4 * bins numbers."""
    known = start(bins)

    def values(draw: Sequence[float]) -> Values:
        numbers = dict(zip(known, draw, strict=True))
        return {name: max(x, FLATTEST) if name.startswith("tau_slope") else x for name, x in numbers.items()}

    return Guided(
        list(known.values()),
        values,
        deviation=deviation,
        candidates=candidates,
        rate=rate,
        seed=seed,
        reward=reward,
    )


def build(
    dim: int,
    classes: int,
    *,
    bins: int = 6,
    method: Literal["guided", "replay"] = "guided",
    candidates: int = 4,
    deviation: float = 0.2,
    rate: float = 0.05,
    reward: Literal["similarity", "tar", "auc", "accuracy"] = "similarity",
) -> Loss:
    """``bins``: number of equal parts of both functions, at least 1.

    ``candidates``: at least 2. ``deviation``: of each number, above 0. ``rate``: of the steps of their means, above 0.
    ``reward``: see :mod:`faceloss.compare.reward`.
    """
    Number(bins, low=1).check("bins")
    policy(0, bins=bins, candidates=candidates, deviation=deviation, rate=rate, reward=reward)
    limits = {
        name: Number(value, above=0) if "tau_slope" in name else Number(value) for name, value in start(bins).items()
    }
    return ClassHead(
        dim,
        classes,
        scale="norm",
        unit_classes=False,
        psi=target,
        tau=probability,
        hyperparameters=limits,
    )
