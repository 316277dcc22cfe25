"""Sub-center ArcFace: several class vectors for each identity, of which the nearest counts.

    loss = mean of -log( exp(s cos(theta_y + m)) / ( exp(s cos(theta_y + m)) + sum_{j != y} exp(s cos theta_j) ) )
    cos theta_j = max over i of cos(x, w_ji),  i = 1 .. centers

w_ji [K*centers,D] class vectors, normalized as the embedding x is; s scale; m margin in radians, with the rule
"subtract" of ArcFace beyond pi; y [B] label. Wrongly labeled and hard images gather at centers other than the main one.

Paper: Deng et al., "Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web Faces", ECCV 2020.
Family: class vectors.
Batches: shuffled.
Deviations: the paper's second round (drop what lies more than 75 degrees from the main center, train again with one
center) is not part of the loss.
Checked: formula read in its released code (deepinsight/insightface); value and gradient against loops in its test;
value and gradient against pytorch-metric-learning 2.9.
"""

import math

from faceloss.losses.arcface import subtract
from faceloss.losses.class_vectors import SubCenters
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def build(dim: int, classes: int, *, s: float = 64.0, m: float = 0.5, centers: int = 3) -> Loss:
    """``s``: scale, above 0. ``m``: radians, in [0, pi]. ``centers``: class vectors per identity, at least 1."""
    Number(centers, low=1).check("centers")
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=subtract,
        vectors=SubCenters(centers),
        rows=classes * centers,
        hyperparameters={"m": Number(m, low=0, high=math.pi)},
    )
