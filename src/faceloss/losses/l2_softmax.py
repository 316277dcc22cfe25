"""L2-Softmax: embeddings are put on a sphere of radius alpha; class vectors and biases stay free.

    loss = mean of -log( exp(w_y.f + b_y) / sum_j exp(w_j.f + b_j) ),  f = alpha x / ||x||

x [B,D] embedding, w_j [K,D] class vectors, b [K] bias, y [B] label. The hyperparameter ``s`` is alpha, the scale;
``radius`` "fixed" keeps it, "learnt" trains it from ``s`` on.

Paper: Ranjan, Castillo, Chellappa, "L2-constrained Softmax Loss for Discriminative Face Verification", 2017.
Family: softmax.
Batches: shuffled.
Deviations: learnt: alpha = 0.01 + exp(v) with v learnt and not decayed, which keeps alpha positive whatever the step.
The default alpha = 16 is recalled, not looked up. Below log(p (K-2) / (1-p)) a target probability p is out of reach;
for large K the default is close to that bound.
Checked: formula read in public code (THUFutureLab/gluon-face); value and gradient against loops in its test.
"""

from typing import Literal

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead, Learnt

FLOOR = 0.01


def build(dim: int, classes: int, *, s: float = 16.0, radius: Literal["fixed", "learnt"] = "fixed") -> Loss:
    """``s``: alpha, the radius of the sphere, above 0 (learnt: above 0.01). ``radius``: see above."""
    scale = Number(s, above=0) if radius == "fixed" else Learnt(s, floor=FLOOR)
    return ClassHead(dim, classes, scale=scale, unit_classes=False, bias=True)
