"""Triplet similarity embedding (TSE): a projection under which a face is more like its own, by a margin.

    loss = mean over triplets of max(0, alpha + a'.n' - a'.p')

x' = W x / ||W x||, W [size,D] trained with the net or, as in the paper, on the embeddings of a frozen one
(:mod:`faceloss.losses.projection` has both: ``fit`` trains, ``loss.embed`` projects); a anchor, p another face of the
same identity, n a face of another, alpha margin on the cosine. No default for alpha is known. ``size``: rows of W, 0
for D. ``mining``: for each ordered pair (a,p) of the batch "hard_negative" takes the closest n, "random" any, "all"
every.

Paper: Sankaranarayanan et al., "Triplet Similarity Embedding for Face Verification", 2016.
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: W x is normalized, as a public implementation of its sequel does; the sum is divided by the triplets; where
nothing is said W starts at random, principal axes are a choice. alpha could not be verified and must be given.
Start with: alpha = 0.2; nothing is published, a guess.
Checked: formula from a public summary; value and gradient against loops in its test; value and gradient against
pytorch-metric-learning 2.9.
"""

from typing import Literal

from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.projection import projected


def term(positive: Tensor, negative: Tensor, *, alpha: Tensor) -> Tensor:
    """max(0, alpha + d(a,p) - d(a,n)) of distances d = 1 - a'.x', [T] -> [T]."""
    return (alpha + positive - negative).relu()


def build(
    dim: int,
    classes: int,
    *,
    alpha: float,
    size: int = 0,
    mining: Literal["hard_negative", "random", "all"] = "hard_negative",
) -> Loss:
    """``alpha``: margin on the cosine, in [0, 2]. ``size``: dimensions after the projection. ``mining``: see above."""
    numbers = {"alpha": Number(alpha, low=0, high=2)}
    return projected(dim, classes, size=size, mining=mining, term=term, hyperparameters=numbers)
