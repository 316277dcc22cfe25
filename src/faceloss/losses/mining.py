"""Miners: which tuples of a batch a tuple loss looks at.

A miner is a function of distances [B,B] (smaller = more alike; detached), labels [B] and a keyed generator. Any
increasing measure of distance will do, except for ``distance_weighted``. Memory is that of a few matrices [B,B],
whatever the number of tuples: what needs (positive pairs) x B numbers goes through them block by block.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from faceloss.losses.pairwise import row_blocks


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


class AllNegatives(NamedTuple):
    """Triplets in short: each pair with every negative of its anchor, or every one that is farther than the positive.

    ``anchor`` and ``positive`` are [P] int64. Written out they would be P x B, so a loss takes them block by block.
    """

    anchor: Tensor
    positive: Tensor
    farther: bool = False

    def triplets(self, distances: Tensor, labels: Tensor) -> Triplets:
        """What it stands for, written out; for small batches."""
        kept = negatives(labels)[self.anchor]  # [P,B]
        if self.farther:
            kept &= distances[self.anchor] > distances[self.anchor, self.positive].unsqueeze(1)
        pair, negative = kept.nonzero(as_tuple=True)
        return Triplets(self.anchor[pair], self.positive[pair], negative)


Miner = Callable[[Tensor, Tensor, torch.Generator], Triplets | Pairs | AllNegatives]


class Identities(NamedTuple):
    """A batch by identity: the rows of the identity of row i are order[start[i] : start[i] + size[i]]; all [B]."""

    order: Tensor
    start: Tensor
    size: Tensor

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The entries of a matrix [len(rows),B] where ``rows`` meet their own identity, themselves included."""
        size = self.size[rows]
        row = torch.arange(len(rows), device=rows.device).repeat_interleave(size)
        place = torch.arange(len(row), device=rows.device) - (size.cumsum(0) - size)[row]
        return row, self.order[self.start[rows][row] + place]

    def all(self) -> tuple[Tensor, Tensor]:
        """:meth:`of` every row of the batch."""
        return self.of(torch.arange(len(self.order), device=self.order.device))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Every ordered pair of two rows of one identity, by the first row, then by the second: [P], [P]."""
        anchor, positive = self.all()
        other = anchor != positive
        return anchor[other], positive[other]

    def several(self) -> bool:
        """Whether there is a negative at all, which each row has then."""
        return bool((self.size < len(self.size)).any())


def identities(labels: Tensor) -> Identities:
    """Sort a batch by identity; in time and memory of B log B and B."""
    label, order = labels.sort(stable=True)
    _, which, counts = torch.unique_consecutive(label, return_inverse=True, return_counts=True)
    start, size = torch.empty_like(order), torch.empty_like(order)
    start[order] = (counts.cumsum(0) - counts)[which]
    size[order] = counts[which]
    return Identities(order, start, size)


def positives(labels: Tensor) -> Tensor:
    """[B,B] bool: two different rows of the same identity."""
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    return same.fill_diagonal_(False)


def negatives(labels: Tensor) -> Tensor:
    """[B,B] bool: rows of different identities."""
    return labels.unsqueeze(0) != labels.unsqueeze(1)


def all_triplets(distances: Tensor, labels: Tensor, generator: torch.Generator) -> AllNegatives:
    """Every triplet: each ordered pair of one identity with each negative of its anchor."""
    return AllNegatives(*identities(labels).pairs())


def all_semi_hard(distances: Tensor, labels: Tensor, generator: torch.Generator) -> AllNegatives:
    """Each ordered pair of one identity with each negative that is farther than the positive."""
    return AllNegatives(*identities(labels).pairs(), farther=True)


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
    return _one_each(distances, identities(labels), farthest=True)


def easy(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """Easy positives (Xuan et al. 2020): for each anchor its closest positive and its closest negative.

    Anchors without a positive or without a negative are skipped.
    """
    return _one_each(distances, identities(labels), farthest=False)


def hard_negative(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """For each ordered pair of one identity the negative closest to its first."""
    groups = identities(labels)
    anchor, positive = groups.pairs()
    return _if(groups.several(), anchor, positive, _closest_negative(distances, groups)[anchor])


def semi_hard(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """FaceNet's semi-hard: for each ordered pair of one identity the closest negative farther than the positive.

    Where no negative is farther than the positive, the farthest negative is taken, so that no pair is lost.
    """
    groups = identities(labels)
    anchor, positive = groups.pairs()
    negative = torch.empty_like(anchor)
    for block in row_blocks(len(anchor), len(labels), labels.device):
        here = anchor[block]
        row, column = groups.of(here)
        beyond = distances[here] - distances[here, positive[block]].unsqueeze(1)  # [p,B], of either sign
        beyond[row, column] = -torch.inf
        farthest = beyond.argmax(1)
        torch.nn.functional.threshold(beyond, 0, torch.inf, inplace=True)  # only those above 0 stay
        closest = beyond.argmin(1, keepdim=True)
        found = beyond.gather(1, closest).squeeze(1) < torch.inf
        negative[block] = torch.where(found, closest.squeeze(1), farthest)
    return _if(groups.several(), anchor, positive, negative)


def random(distances: Tensor, labels: Tensor, generator: torch.Generator) -> Triplets:
    """For each ordered pair of one identity one negative, all equally likely."""
    groups = identities(labels)
    anchor, positive = groups.pairs()
    start, size = groups.start[anchor], groups.size[anchor]
    count = len(labels) - size  # of the negatives
    place = (_uniform(len(anchor), generator, labels.device) * count).long().minimum(count - 1).clamp_min(0)
    negative = groups.order[torch.where(place < start, place, (place + size).clamp_max(len(labels) - 1))]
    return _if(groups.several(), anchor, positive, negative)


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
    groups = identities(labels)
    anchor, positive = groups.pairs()
    uniform = _uniform(len(anchor), generator, labels.device)
    others = groups.size - 1
    first = others.cumsum(0) - others  # pair of each row
    nearly = min(cutoff, 1.9999)  # at 2 the density is 0 and the weight infinite
    negative, found = torch.empty_like(anchor), torch.empty_like(anchor, dtype=torch.bool)
    for rows in row_blocks(len(labels), len(labels), labels.device):
        block = distances[rows]  # [b,B]
        # log q spans 370 at 512 dimensions; its error in float32 is what the rounding of the distances makes anyway.
        squared = block.to(torch.promote_types(block.dtype, torch.float32)).clamp(floor, nearly).square_()
        log_weights = squared.log().mul_((2 - dim) / 2).add_(squared.div_(-4).log1p_(), alpha=(3 - dim) / 2)
        candidate = (block < cutoff).to(log_weights.dtype)  # 1 or 0: products are many times faster than selections
        candidate[groups.of(torch.arange(len(labels), device=labels.device)[rows])] = 0
        log_weights.add_(candidate - 1, alpha=1e30)
        # Of its own row: with the largest of the batch whole rows would underflow to nothing.
        log_weights.sub_(log_weights.amax(1, keepdim=True)).clamp_min_(-80)  # e^-80 is never drawn either
        reached = log_weights.exp_().mul_(candidate).cumsum(1, dtype=torch.float64)  # [b,B]
        total = reached[:, -1]
        pairs = slice(int(first[rows][0]), int(first[rows][-1] + others[rows][-1]))
        row, place = anchor[pairs] - rows.start, torch.arange(pairs.start, pairs.stop, device=labels.device)
        place -= first[anchor[pairs]]
        wanted = total.new_zeros(len(total), int(others[rows].max()))
        # Strictly below the total, so that no row of weight 0 is ever drawn.
        wanted[row, place] = (uniform[pairs] * total[row]).minimum(total.nextafter(torch.zeros_like(total))[row])
        drawn = torch.searchsorted(reached, wanted, right=True)
        negative[pairs], found[pairs] = drawn[row, place], total[row] > 0
    return Triplets(anchor[found], positive[found], negative[found])


def _one_each(distances: Tensor, groups: Identities, farthest: bool) -> Triplets:
    """Each row that has a positive with its farthest or closest one and with its closest negative."""
    row, column = groups.pairs()
    alike = torch.full_like(distances, -torch.inf if farthest else torch.inf)
    alike[row, column] = distances[row, column]
    positive = alike.argmax(1) if farthest else alike.argmin(1)
    anchor = (groups.size > 1).nonzero().squeeze(1)
    return _if(groups.several(), anchor, positive[anchor], _closest_negative(distances, groups)[anchor])


def _closest_negative(distances: Tensor, groups: Identities) -> Tensor:
    """[B]; of a batch of one identity, any row."""
    others = distances.clone()
    others[groups.all()] = torch.inf
    return others.argmin(1)


def _uniform(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """``count`` numbers in [0, 1), float64; drawn on the CPU, so that every device gets the same."""
    return torch.rand(count, generator=generator, dtype=torch.float64).to(device)


def _if(several: bool, anchor: Tensor, positive: Tensor, negative: Tensor) -> Triplets:
    """The triplets, or none in a batch of one identity."""
    return Triplets(anchor, positive, negative) if several else Triplets(anchor[:0], positive[:0], negative[:0])
