"""Marginal loss: softmax, and every pair of the batch keeps to its side of a boundary, by a margin.

    loss = softmax + lam * sum over pairs i < j of max(0, xi - y_ij (theta - d_ij)) / M

d_ij = squared distance of the normalized embeddings (= 2 - 2 cos), y_ij = 1 for a pair of one identity and -1 for a
pair of two, theta boundary, xi margin, lam weight. ``normalizer`` names M for a batch of B faces: "pairs" is their
number, B (B - 1) / 2, so that the term is a mean; "paper" is the printed B^2 - B, which halves it.

Paper: Deng et al., "Marginal Loss for Deep Face Recognition", CVPR Workshops 2017.
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: divided by the number of pairs, where the paper as it is handed on sums over i < j and divides by B^2 - B
("paper"). theta and xi are those of a public re-implementation (the same in the paper, from memory); lam 1 is our
reading of "softmax plus marginal".
Checked: formula from a public summary, in part our reading; value and gradient against loops in its test.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.mining import all_pairs
from faceloss.losses.operations import normalize
from faceloss.losses.pairwise import squared_distances
from faceloss.losses.sums import SumLoss, Term
from faceloss.losses.tuples import TupleHead


def measure(embeddings: Tensor) -> Tensor:
    """Squared distances of the directions, [B,D] -> [B,B]."""
    return squared_distances(normalize(embeddings))


def term(distance: Tensor, same: Tensor, label: Tensor, *, theta: Tensor, xi: Tensor, share: float) -> Tensor:
    """share * max(0, xi - y (theta - d)), [P] -> [P]."""
    beyond = torch.where(same, distance - theta, theta - distance)
    return share * (xi + beyond).clamp_min(0)


def build(
    dim: int,
    classes: int,
    *,
    theta: float = 1.2,
    xi: float = 0.3,
    lam: float = 1.0,
    normalizer: Literal["pairs", "paper"] = "pairs",
) -> Loss:
    """``theta``: boundary, in (0, 4). ``xi``: margin, in [0, 4]. ``lam``: weight, at least 0. ``normalizer``: above."""
    pairs = TupleHead(
        dim,
        classes,
        measure=measure,
        miner=all_pairs,
        term=partial(term, share=1.0 if normalizer == "pairs" else 0.5),
        reduction="mean",
        hyperparameters={"theta": Number(theta, above=0, high=4), "xi": Number(xi, low=0, high=4)},
    )
    softmax = ClassHead(dim, classes, scale="norm", unit_classes=False, bias=True)
    terms = {"softmax": Term(softmax), "marginal": Term(pairs, weight="lam")}
    return SumLoss(dim, classes, terms=terms, hyperparameters={"lam": Number(lam, low=0)})
