"""Miners: which tuples of a batch a tuple loss looks at.

A miner is a function of distances [B,B] (smaller = more alike; detached), labels [B] and a keyed generator. Any
increasing measure of distance will do, except for ``distance_weighted``. Memory is at most (positive pairs) x B.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Triplets(NamedTuple):
    """Rows of a batch: ``anchor`` and ``positive`` share an identity, ``negative`` has another; all [T] int64."""

    anchor: Tensor
    positive: Tensor
    negative: Tensor


class Pairs(NamedTuple):
    """Rows of a batch and whether they share an identity; [P] int64, [P] int64, [P] bool."""

    first: Tensor
    second: Tensor
    same: Tensor


Miner = Callable[[Tensor, Tensor, torch.Generator], Triplets | Pairs]


def positives(labels: Tensor) -> Tensor:
    """[B,B] bool: two different rows of the same identity."""
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    return same.fill_diagonal_(False)


def negatives(labels: Tensor) -> Tensor:
    """[B,B] bool: rows of different identities."""
    return labels.unsqueeze(0) != labels.unsqueeze(1)


def all_triplets(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """Every triplet: each ordered pair of one identity with each negative of its anchor."""
    anchor, positive = positives(labels).nonzero(as_tuple=True)
    pair, negative = negatives(labels)[anchor].nonzero(as_tuple=True)
    return Triplets(anchor[pair], positive[pair], negative)


def hard(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """Batch-hard (Hermans et al. 2017): for each anchor its farthest positive and its closest negative.

    Anchors without a positive or without a negative are skipped.
    """
    is_positive, is_negative = positives(labels), negatives(labels)
    anchor = (is_positive.any(1) & is_negative.any(1)).nonzero().squeeze(1)
    farthest = distances.masked_fill(~is_positive, -torch.inf).argmax(1)
    closest = distances.masked_fill(~is_negative, torch.inf).argmin(1)
    return Triplets(anchor, farthest[anchor], closest[anchor])


def semi_hard(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """FaceNet's semi-hard: for each ordered pair of one identity the closest negative farther than the positive.

    Where no negative is farther than the positive, the farthest negative is taken, so that no pair is lost.
    """
    anchor, positive = positives(labels).nonzero(as_tuple=True)
    is_negative = negatives(labels)[anchor]  # [P,B]
    distance = distances[anchor]  # [P,B]
    farther = is_negative & (distance > distances[anchor, positive].unsqueeze(1))
    closest_farther = distance.masked_fill(~farther, torch.inf).argmin(1)
    farthest = distance.masked_fill(~is_negative, -torch.inf).argmax(1)
    negative = torch.where(farther.any(1), closest_farther, farthest)
    return _where(is_negative.any(1), anchor, positive, negative)


def random(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """For each ordered pair of one identity one negative, all equally likely."""
    anchor, positive = positives(labels).nonzero(as_tuple=True)
    is_negative = negatives(labels)[anchor]  # [P,B]
    log_weights = torch.zeros_like(distances).masked_fill(~negatives(labels), -torch.inf)
    return _where(is_negative.any(1), anchor, positive, _draw(log_weights[anchor], generator))


def distance_weighted(
    distances: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    dim: int,
    floor: float = 0.5,
    cutoff: float = 1.4,
) -> Triplets:
    """For each ordered pair of one identity one negative, so that all distances are equally likely (Wu et al. 2017).

    On the unit sphere in ``dim`` dimensions distances D of uniform points have density

        log q(D) = (dim - 2) log D + (dim - 3)/2 log(1 - D^2/4) + constant

    and a negative is drawn with weight 1/q(max(D, floor)) among those with D < cutoff; anchors without any are
    skipped. ``distances`` must be Euclidean, between unit vectors.
    """
    clipped = distances.double().clamp(floor, cutoff)  # log q spans 370 at 512 dimensions
    log_density = (dim - 2) * clipped.log() + (dim - 3) / 2 * torch.log1p(-clipped.square() / 4)
    candidate = negatives(labels) & (distances < cutoff)
    log_weights = (-log_density).masked_fill(~candidate, -torch.inf)
    anchor, positive = positives(labels).nonzero(as_tuple=True)
    return _where(candidate[anchor].any(1), anchor, positive, _draw(log_weights[anchor], generator))


def _draw(log_weights: Tensor, generator: torch.Generator) -> Tensor:
    """One column a row [P,B] -> [P] with probability softmax(log_weights), by the Gumbel-max trick.

    Nothing is exponentiated, so no span of weights can underflow a row to nothing.
    """
    waiting = torch.empty(log_weights.shape, dtype=torch.float64).exponential_(generator=generator)
    noise = waiting.clamp_min(torch.finfo(torch.float64).tiny).log()
    return (log_weights - noise.to(log_weights.device)).argmax(1)


def _where(kept: Tensor, *rows: Tensor) -> Triplets:
    anchor, positive, negative = (row[kept] for row in rows)
    return Triplets(anchor, positive, negative)
