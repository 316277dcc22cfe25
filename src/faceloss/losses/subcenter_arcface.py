"""Sub-center ArcFace: several class vectors for each identity, of which the nearest counts.

    loss = mean of -log( exp(s cos(theta_y + m)) / ( exp(s cos(theta_y + m)) + sum_{j != y} exp(s cos theta_j) ) )
    cos theta_j = max over i of cos(x, w_ji),  i = 1 .. centers

w_ji [K*centers,D] class vectors, normalized as the embedding x is; s scale; m margin in radians, with the rule
"subtract" of ArcFace beyond pi; y [B] label. Wrongly labeled and hard images gather at centers other than the main one.
``gradient`` "straight-through" lets the margin change the value but not the slope, "exact" differentiates it.

Paper: Deng et al., "Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web Faces", ECCV 2020.
Family: class vectors.
Batches: shuffled.
Deviations: by default the gradient is "straight-through", that of the authors' later code for ArcFace. The release has
the exact one, with which a sample nearer than (pi - m)/2 to its own class is pulled at it by more than all others
together push it off: from scratch, several centers to a class, all embeddings fell into one point, and no warm-up of
the margin kept them from it (LAB.md). The paper's second round (drop what lies more than 75 degrees from the main
center, train again with one center) is not part of the loss.
Checked: formula read in its released code (deepinsight/insightface); value and gradient against loops in its test;
value and gradient against pytorch-metric-learning 2.9.
"""

import math
from typing import Literal

from faceloss.losses.arcface import subtract
from faceloss.losses.class_vectors import SubCenters
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.5,
    centers: int = 3,
    gradient: Literal["straight-through", "exact"] = "straight-through",
) -> Loss:
    """``s``: above 0. ``m``: radians, in [0, pi]. ``centers``: at least 1. ``gradient``: see above."""
    Number(centers, low=1).check("centers")
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=subtract,
        gradient=gradient,
        vectors=SubCenters(centers),
        rows=classes * centers,
        hyperparameters={"m": Number(m, low=0, high=math.pi)},
    )
