"""A-Softmax (SphereFace): the target's angle is multiplied; class vectors are normalized, embeddings are not.

    loss = mean of -log( exp(z_y) / ( exp(z_y) + sum_{j != y} exp(||x|| cos theta_j) ) )
    z_y = ||x|| (lam cos theta_y + psi(theta_y)) / (1 + lam)
    psi(theta) = (-1)^k cos(m theta) - 2k,  k = floor(m theta / pi)

x [B,D] embedding as it comes, theta_j [B,K] angle between it and class vector j, no bias; m factor; lam weight of the
plain cosine at the end of the training; y [B] label. psi is that of L-Softmax: continuous, falling and at most cos for
every real m >= 1.

Paper: Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017, eq. 7, and its released
training code, which ends at lam = 5.
Family: margin.
Batches: shuffled.
Course: the weight of the plain cosine falls from 1000 to lam as in the released training, max(lam, 1000 / (1 + 0.12 i))
at step i of 28,000; here the same share of the training, whatever its length.
Deviations: the gradient is the derivative; the released code rescales the target's. m need not be a whole number. At
cos = +-1 exactly the slope of psi is taken as 0.
Checked: formula read in its released code (wy1iu/sphereface); value and gradient against loops in its test; value and
gradient against pytorch-metric-learning 2.9.
"""

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.lsoftmax import psi
from faceloss.search.courses import fall


def course(progress: float, *, lam: float) -> dict[str, float]:
    """lam falls from 1000 to its end as in the released training of 28,000 steps."""
    return {"lam": max(lam, fall(progress, start=1000.0, speed=0.12 * 28_000, power=1.0))}


def build(dim: int, classes: int, *, m: float = 4.0, lam: float = 5.0) -> Loss:
    """``m``: factor on the angle, at least 1. ``lam``: weight of the plain cosine, at least 0."""
    numbers = {"m": Number(m, low=1), "lam": Number(lam, low=0)}
    return ClassHead(dim, classes, scale="norm", psi=psi, hyperparameters=numbers)
