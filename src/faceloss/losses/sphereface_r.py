"""SphereFace-R: the target's angle is multiplied, or the angles of all other classes are divided.

    loss = mean of -log( exp(s psi(theta_y)) / ( exp(s psi(theta_y)) + sum_{j != y} exp(s eta(theta_j)) ) )

    version    psi(theta)                                           eta(theta)
    "v0"       (-1)^k cos(m theta) - 2k,  k = floor(m theta / pi)   cos(theta)
    "v1"       cos(min(m theta, pi))                                cos(theta)
    "v2"       cos(theta)                                           cos(theta / m)

theta_j [B,K] angle between embedding and class vector j, both normalized; s scale; m factor; y [B] label. ``gradient``
"straight-through" lets psi and eta change values but not slopes, as the released code does; "exact" differentiates
them, which in "v1" gives no gradient to a target beyond pi / m.

Paper: Liu et al., "SphereFace Revived: Unifying Hyperspherical Face Recognition", TPAMI 2022; versions and defaults of
its released code, whose one training configuration has "v2" with s = 60 and m = 1.4.
Family: margin.
Batches: shuffled.
Deviations: the release multiplies the loss by 50 / s; here it is not, so that its values compare with those of the
other losses. Only normalized embeddings (HFN) are here. In "v2" nothing is taken from the target, so "nats" is 0.
Checked: formula read in its released code (ydwen/opensphere); value and gradient against loops in its test.
"""

import math
from typing import Literal

from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import angle, falling_cos
from faceloss.losses.scores import Change


def falling(cos: Tensor, m: Tensor) -> Tensor:
    """The falling continuation of cos(m theta), [B] -> [B]."""
    return falling_cos(m * angle(cos))


def clipped(cos: Tensor, m: Tensor) -> Tensor:
    """cos(min(m theta, pi)), [B] -> [B]."""
    return (m * angle(cos)).clamp_max(math.pi).cos()


def divided(m: Tensor) -> Change:
    """cos(theta / m), of each score."""
    return lambda scores: (angle(scores) / m).cos()


def divided_straight_through(m: Tensor) -> Change:
    """The same value with the slope of cos(theta)."""
    exact = divided(m)
    return lambda scores: scores + (exact(scores) - scores).detach()


def build(
    dim: int,
    classes: int,
    *,
    s: float = 30.0,
    m: float = 1.5,
    version: Literal["v0", "v1", "v2"] = "v1",
    gradient: Literal["straight-through", "exact"] = "straight-through",
) -> Loss:
    """``s``: scale, above 0. ``m``: factor on the angle, at least 1. ``version``, ``gradient``: see above."""
    others = divided if gradient == "exact" else divided_straight_through
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi={"v0": falling, "v1": clipped, "v2": None}[version],
        others=others if version == "v2" else None,
        gradient=gradient,
        hyperparameters={"m": Number(m, low=1)},
    )
