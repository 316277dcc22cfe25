"""Contrastive loss: pairs of one identity are drawn together, pairs of two are pushed out of a radius.

    loss = mean over all pairs of the batch of  D^2 / 2             of one identity
                                                max(0, m - D)^2 / 2  of two

D = Euclidean distance of the embeddings, m radius. ``on`` names which embeddings: "unit", their directions (D is at
most 2), or "raw", the embeddings as they come, as in the paper; m is then in their units.

Paper: Hadsell et al., "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: mean over the pairs where the paper sums. The paper leaves m open: 1 is that of the NormFace code and of
pytorch-metric-learning, both on directions, and with "raw" it needs a value of your own. pytorch-metric-learning's
contrastive loss is neither squared nor halved, and it averages the two kinds of pairs one by one.
Checked: formula from a public summary and read in public code (KevinMusgrave/pytorch-metric-learning); value and
gradient against loops in its test; value and gradient against pytorch-metric-learning 2.9.
"""

from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.mining import all_pairs
from faceloss.losses.operations import normalize
from faceloss.losses.pairwise import distances
from faceloss.losses.tuples import TupleHead


def on_directions(embeddings: Tensor) -> Tensor:
    """Distances of the directions, [B,D] -> [B,B]."""
    return distances(normalize(embeddings))


def term(distance: Tensor, same: Tensor, label: Tensor, *, m: Tensor) -> Tensor:
    """D^2 / 2 of the same identity, max(0, m - D)^2 / 2 of two, [P] -> [P]."""
    return torch.where(same, distance, (m - distance).clamp_min(0)).square() / 2


def build(dim: int, classes: int, *, m: float = 1.0, on: Literal["unit", "raw"] = "unit") -> Loss:
    """``m``: radius, above 0 and, on "unit" embeddings, at most 2. ``on``: which embeddings D compares."""
    return TupleHead(
        dim,
        classes,
        measure=on_directions if on == "unit" else distances,
        miner=all_pairs,
        term=term,
        reduction="mean",
        hyperparameters={"m": Number(m, above=0, high=2) if on == "unit" else Number(m, above=0)},
    )
