"""Triplet probabilistic embedding (TPE): a projection under which a face is probably more like its own than another.

    loss = mean over triplets of -log( exp(a'.p') / (exp(a'.p') + exp(a'.n')) ) = log(1 + exp(a'.n' - a'.p'))

x' = W x / ||W x||, W [size,D] trained with the net or, as in the paper, on the embeddings of a frozen one
(:mod:`faceloss.losses.projection` has both: ``fit`` trains, ``loss.embed`` projects); a anchor, p another face of the
same identity, n a face of another. ``size``: rows of W, 0 for D. ``mining``: for each ordered pair (a,p) of the batch
"hard_negative" takes the closest n, "random" any, "all" every.

Paper: Sankaranarayanan et al., "Triplet Probabilistic Embedding for Face Verification and Clustering", BTAS 2016.
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: W x is normalized, as a public implementation does; the sum is divided by the triplets; where nothing is
said W starts at random, principal axes are a choice.
Checked: formula read in public code (meownoid/face-identification-tpe); value and gradient against loops in its test;
value and gradient against pytorch-metric-learning 2.9.
"""

from typing import Literal

from torch import Tensor

from faceloss.losses.core import Loss
from faceloss.losses.operations import cross_entropy
from faceloss.losses.projection import projected


def term(positive: Tensor, negative: Tensor) -> Tensor:
    """-log sigmoid(a'.p' - a'.n') from distances d = 1 - a'.x', [T] -> [T]."""
    return cross_entropy(-positive, -negative)


def build(
    dim: int,
    classes: int,
    *,
    size: int = 0,
    mining: Literal["hard_negative", "random", "all"] = "hard_negative",
) -> Loss:
    """``size``: dimensions after the projection. ``mining``: see above."""
    return projected(dim, classes, size=size, mining=mining, term=term, hyperparameters={})
