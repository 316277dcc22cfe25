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


def all_pairs(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Pairs:
    """Every pair of rows once."""
    first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    return Pairs(first, second, labels[first] == labels[second])


def one_pair_each(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Pairs:
    """Of each identity with two rows or more two of them, all equally likely: the N pairs of Sohn (2016)."""
    order = torch.rand(len(labels), generator=generator, dtype=torch.float64).argsort().to(labels.device)
    order = order[labels[order].argsort(stable=True)]  # by identity, at random within
    label = labels[order]
    begins = torch.ones_like(label, dtype=torch.bool)
    begins[1:] = label[1:] != label[:-1]
    start = (begins[:-1] & ~begins[1:]).nonzero().squeeze(1)
    return Pairs(order[start], order[start + 1], torch.ones_like(start, dtype=torch.bool))


def hard(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """Batch-hard (Hermans et al. 2017): for each anchor its farthest positive and its closest negative.

    Anchors without a positive or without a negative are skipped.
    """
    farthest = distances.masked_fill(~positives(labels), -torch.inf).argmax(1)
    return _with_closest_negative(distances, labels, farthest)


def easy(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """Easy positives (Xuan et al. 2020): for each anchor its closest positive and its closest negative.

    Anchors without a positive or without a negative are skipped.
    """
    closest = distances.masked_fill(~positives(labels), torch.inf).argmin(1)
    return _with_closest_negative(distances, labels, closest)


def hard_negative(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """For each ordered pair of one identity the negative closest to its first."""
    anchor, positive = positives(labels).nonzero(as_tuple=True)
    is_negative = negatives(labels)
    closest = distances.masked_fill(~is_negative, torch.inf).argmin(1)
    return _where(is_negative.any(1)[anchor], anchor, positive, closest[anchor])


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


def _with_closest_negative(distances: Tensor, labels: Tensor, positive: Tensor) -> Triplets:
    """Each row as anchor with ``positive`` [B] and its closest negative; rows without either are left out."""
    is_negative = negatives(labels)
    closest = distances.masked_fill(~is_negative, torch.inf).argmin(1)
    anchor = torch.arange(len(labels), device=labels.device)
    return _where(positives(labels).any(1) & is_negative.any(1), anchor, positive, closest)


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
