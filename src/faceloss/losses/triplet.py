"""Triplet loss: a face is closer to a face of its own identity than to one of another, by a margin.

    loss = sum over triplets of max(0, d(a,p) - d(a,n) + alpha) / number of triplets

d = squared Euclidean distance of the normalized embeddings (= 2 - 2 cos), a anchor, p another face of the same
identity, n a face of another identity, alpha margin. ``mining`` names the triplets: for each ordered pair (a,p) of the
batch "semi_hard" takes the closest n farther than p, "all_semi_hard" every n farther than p, "random" any n, "all"
every n; "hard" takes, for each a, the farthest p and the closest n; "easy", for each a, the closest p and the closest
n. ``reduction`` "active" divides by the number of triplets above 0 only, "mean" by all.

Paper: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015, eq. 3; "hard" from
Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017; "easy" from Xuan et al., "Improved
Embeddings with Easy Positive Triplet Mining", WACV 2020 (from memory).
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: the paper sums and draws semi-hard negatives from batches of 1,800 faces; here a pair without a semi-hard
negative takes the farthest negative of the batch, and the sum is divided by the active triplets.
Checked: formula read in public code (davidsandberg/facenet); value and gradient against loops in its test; value and
gradient against pytorch-metric-learning 2.9.
"""

from typing import Literal

from torch import Tensor

from faceloss.losses import mining as miners
from faceloss.losses.core import Loss, Number
from faceloss.losses.operations import normalize
from faceloss.losses.pairwise import squared_distances
from faceloss.losses.tuples import TupleHead


def measure(embeddings: Tensor) -> Tensor:
    """Squared distances of the directions, [B,D] -> [B,B]."""
    return squared_distances(normalize(embeddings))


def term(positive: Tensor, negative: Tensor, alpha: Tensor) -> Tensor:
    """max(0, d(a,p) - d(a,n) + alpha), [T] -> [T]."""
    return (positive - negative + alpha).relu()


def build(
    dim: int,
    classes: int,
    *,
    alpha: float = 0.2,
    mining: Literal["semi_hard", "hard", "easy", "random", "all", "all_semi_hard"] = "semi_hard",
    reduction: Literal["active", "mean"] = "active",
) -> Loss:
    """``alpha``: margin on the squared distance, in [0, 4]. ``mining``, ``reduction``: see above."""
    miner: dict[str, miners.Miner] = {
        "semi_hard": miners.semi_hard,
        "hard": miners.hard,
        "easy": miners.easy,
        "random": miners.random,
        "all": miners.all_triplets,
        "all_semi_hard": miners.all_semi_hard,
    }
    return TupleHead(
        dim,
        classes,
        measure=measure,
        miner=miner[mining],
        term=term,
        reduction=reduction,
        hyperparameters={"alpha": Number(alpha, low=0, high=4)},
    )
