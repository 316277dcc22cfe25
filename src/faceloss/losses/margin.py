"""Margin loss: pairs of one identity are closer than a boundary beta, pairs of two are farther, each by a margin.

    loss = ( sum of max(0, alpha + D(a,p) - beta) + sum of max(0, alpha - D(a,n) + beta) ) / number of terms above 0
           + nu * beta

D = Euclidean distance of the normalized embeddings, a anchor, p another face of the same identity, n a face of another
identity, alpha margin. Each ordered pair (a,p) of the batch brings one n, drawn with a weight that makes all distances
between 0.5 and 1.4 equally likely. ``beta_mode``: the boundary is "fixed", one number that is "learned", or one learned
number "per class" (that of the anchor); nu pulls a learned beta down.

Paper: Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017, eqs. 3-6.
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: rows of weights are normalized one by one in log space, anchors without a negative below 1.4 bring none; the
released code divides by the largest weight of the batch, which underflows. nu multiplies the mean beta of the batch's
labels and is not divided by the number of active terms. A learned beta follows the recipe's learning rate, undecayed;
the paper gives it its own rate of 0.1.
Checked: formula read in its released code (chaoyuaw/incubator-mxnet); value and gradient against loops in its test;
value and gradient against pytorch-metric-learning 2.9.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses.core import Loss, Number
from faceloss.losses.mining import Pairs, distance_weighted
from faceloss.losses.operations import normalize
from faceloss.losses.pairwise import distances
from faceloss.losses.tuples import TupleHead


def measure(embeddings: Tensor) -> Tensor:
    """Distances of the directions, [B,D] -> [B,B]."""
    return distances(normalize(embeddings))


def mine(distance: Tensor, labels: Tensor, generator: torch.Generator, *, dim: int) -> Pairs:
    """Each drawn triplet as two pairs, (a,p) and (a,n)."""
    anchor, positive, negative = distance_weighted(distance, labels, generator, dim=dim)
    same = torch.ones_like(anchor, dtype=torch.bool)
    return Pairs(torch.cat([anchor, anchor]), torch.cat([positive, negative]), torch.cat([same, ~same]))


Cost = Callable[..., Tensor]  # of each pair: (distance [P], same [P], label [P], *, alpha, beta) -> [P]
BetaMode = Literal["fixed", "learned", "per class"]


def hinge(distance: Tensor, same: Tensor, label: Tensor, *, alpha: Tensor, beta: Tensor) -> Tensor:
    """max(0, alpha + D - beta) of the same identity, max(0, alpha - D + beta) of two, [P] -> [P]."""
    return (alpha + torch.where(same, distance - beta, beta - distance)).clamp_min(0)


class LearnedBoundary(nn.Module):
    """A cost with a trained beta: one for all, or one per class."""

    def __init__(self, cost: Cost, count: int, beta: float):
        super().__init__()
        self.cost = cost
        self.beta = nn.Parameter(torch.full((count,), beta))  # [1] or [K]

    def of(self, labels: Tensor) -> Tensor:
        """The boundary of each label, [B] -> [B]."""
        return self.beta[labels if self.beta.numel() > 1 else torch.zeros_like(labels)]

    def forward(self, distance: Tensor, same: Tensor, label: Tensor, *, alpha: Tensor, nu: Tensor) -> Tensor:
        return self.cost(distance, same, label, alpha=alpha, beta=self.of(label).to(distance.dtype))

    def penalty(self, labels: Tensor, *, alpha: Tensor, nu: Tensor) -> Tensor:
        """nu times the mean boundary of the batch's labels."""
        return nu * self.of(labels).mean()


def head(dim: int, classes: int, cost: Cost, *, alpha: float, beta: float, beta_mode: BetaMode, nu: float) -> Loss:
    """The mean over the active pairs of ``cost``, with the boundary that ``beta_mode`` names."""
    numbers = {"alpha": Number(alpha, low=0, high=2)}
    boundary, pull = Number(beta, above=0, high=2), Number(nu, low=0)
    boundary.check("beta")
    pull.check("nu")
    if beta_mode == "fixed" and nu:
        raise ValueError(
            f"nu acts on a learned beta only; give beta_mode 'learned' or 'per class', or nu 0 not {nu:g}."
        )
    make = partial(TupleHead, dim, classes, measure=measure, miner=partial(mine, dim=dim), reduction="active")
    if beta_mode == "fixed":
        return make(term=cost, hyperparameters=numbers | {"beta": boundary})
    learned = LearnedBoundary(cost, classes if beta_mode == "per class" else 1, beta)
    return make(
        term=learned,
        penalty=learned.penalty,
        hyperparameters=numbers | {"nu": pull},
        options={"term.beta": {"weight_decay": 0.0}},
    )


def build(
    dim: int,
    classes: int,
    *,
    alpha: float = 0.2,
    beta: float = 1.2,
    beta_mode: Literal["fixed", "learned", "per class"] = "fixed",
    nu: float = 0.0,
) -> Loss:
    """``alpha``: margin, in [0, 2]. ``beta``: boundary (at the start), in (0, 2]. ``nu``: pull on a learned beta."""
    return head(dim, classes, hinge, alpha=alpha, beta=beta, beta_mode=beta_mode, nu=nu)
