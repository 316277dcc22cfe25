"""L-Softmax: the target's angle is multiplied, with norms kept.

    loss = mean of -log( exp(z_y) / ( exp(z_y) + sum_{j != y} exp(||w_j|| ||x|| cos theta_j) ) )
    z_y = ||w_y|| ||x|| (lam cos theta_y + psi(theta_y)) / (1 + lam)
    psi(theta) = (-1)^k cos(m theta) - 2k,  k = floor(m theta / pi)

x [B,D] embedding as it comes, w_j [K,D] class vectors, no bias, theta_j [B,K] angle between them; m factor; lam weight
of the plain cosine at the end of the training, at 0 the full margin; y [B] label. psi is continuous, falling and at
most cos for every real m >= 1.

Paper: Liu et al., "Large-Margin Softmax Loss for Convolutional Neural Networks", ICML 2016, eq. 6 and the released
code, whose example for m = 4 ends at lam = 0 (advised for hard data: 5 or 10).
Family: margin.
Batches: shuffled.
Course: the weight of the plain cosine falls from 1000 to lam as in the released example, max(lam, 1000 (1 + 2.5e-5
i)^-35) at step i of 30,000; here the same share of the training, whatever its length.
Deviations: m need not be a whole number. At cos = +-1 exactly the slope of psi is taken as 0.
Checked: formula read in its released code (wy1iu/LargeMargin_Softmax_Loss); value and gradient against loops in its
test; value and gradient against pytorch-metric-learning 2.9.
"""

from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import angle, falling_cos
from faceloss.search.courses import fall


def psi(cos: Tensor, m: Tensor, lam: Tensor) -> Tensor:
    """(lam cos theta + psi(theta)) / (1 + lam), [B] -> [B]."""
    return (lam * cos + falling_cos(m * angle(cos))) / (1 + lam)


def course(progress: float, *, lam: float) -> dict[str, float]:
    """lam falls from 1000 to its end as in the released example for m = 4, whose training has 30,000 steps."""
    return {"lam": max(lam, fall(progress, start=1000.0, speed=2.5e-5 * 30_000, power=35.0))}


def build(dim: int, classes: int, *, m: float = 4.0, lam: float = 0.0) -> Loss:
    """``m``: factor on the angle, at least 1. ``lam``: weight of the plain cosine, at least 0."""
    numbers = {"m": Number(m, low=1), "lam": Number(lam, low=0)}
    return ClassHead(dim, classes, scale="norm", unit_classes=False, psi=psi, hyperparameters=numbers)
