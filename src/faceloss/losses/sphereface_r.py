"""SphereFace-R (v1): the target's angle is multiplied, up to pi.

    loss = mean of -log( exp(s psi(theta_y)) / ( exp(s psi(theta_y)) + sum_{j != y} exp(s cos theta_j) ) )
    psi(theta) = cos(min(m theta, pi))

theta_j [B,K] angle between embedding and class vector j, both normalized; s scale; m factor; y [B] label. ``gradient``
"straight-through" lets the margin change the value but not the slope, as the released code does; "exact" differentiates
psi, which gives no gradient to the margin of a target beyond pi / m.

Paper: Liu et al., "SphereFace Revived: Unifying Hyperspherical Face Recognition", TPAMI 2022.
Family: margin.
Batches: shuffled.
Deviations: the release multiplies the loss by 50 / s; here it is not, so that its values compare with those of the
other losses. Only the version with normalized embeddings (HFN) is here.
Checked: formula read in its released code (ydwen/opensphere); value and gradient against loops in its test.
"""

import math
from typing import Literal

from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import angle


def psi(cos: Tensor, m: Tensor) -> Tensor:
    """cos(min(m theta, pi)), [B] -> [B]."""
    return (m * angle(cos)).clamp_max(math.pi).cos()


def build(
    dim: int,
    classes: int,
    *,
    s: float = 30.0,
    m: float = 1.5,
    gradient: Literal["straight-through", "exact"] = "straight-through",
) -> Loss:
    """``s``: scale, above 0. ``m``: factor on the angle, at least 1. ``gradient``: see above."""
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=psi,
        gradient=gradient,
        hyperparameters={"m": Number(m, low=1)},
    )
