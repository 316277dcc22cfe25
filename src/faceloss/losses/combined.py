"""Combined margin: the target's angle is multiplied and added to, and a constant is taken from its cosine.

    loss = mean of -log( exp(s psi(theta_y)) / ( exp(s psi(theta_y)) + sum_{j != y} exp(s cos theta_j) ) )
    psi(theta) = cos(m1 theta + m2) - m3           while m1 theta + m2 <= pi

theta_j [B,K] angle between embedding and class vector j, both normalized; s scale; m1 factor, m2 angle in radians, m3
difference of cosines; y [B] label. (1, m, 0) is ArcFace, (1, 0, m) CosFace, (m, 0, 0) the margin of SphereFace.
``beyond_pi`` names the rule where m1 theta + m2 > pi, where cos turns up again:

    "continuous"  (-1)^k cos(m1 theta + m2) - 2k - m3 with k = floor((m1 theta + m2) / pi): falling, without a jump
    "none"        cos(m1 theta + m2) - m3: not monotone

``gradient`` "exact" differentiates psi; "straight-through" lets the margin change the value but not the slope.
``warmup`` is the share of the training over which the margins rise, for the reason given in ArcFace; 0 is the published
setting.

Paper: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, eq. 4; the default
triple is that of its released MXNet code.
Family: margin.
Batches: shuffled.
Course: m1 goes from 1, m2 and m3 go from 0 to their values in a straight line over the first half (``warmup``) of the
training.
Deviations: ``warmup`` is ours. "continuous" is the extension of L-Softmax; the release has none. At cos = +-1 exactly,
where the slope is infinite, it is taken as about 0. The later PyTorch release ignores m1 and m2 where m3 > 0; here all
three act.
Checked: formula read in its released code (deepinsight/insightface); value and gradient against loops in its test.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import angle, falling_cos
from faceloss.search.courses import rise


def continuous(cos: Tensor, m1: Tensor, m2: Tensor, m3: Tensor) -> Tensor:
    """The falling continuation of cos(m1 theta + m2) - m3, [B] -> [B]."""
    return falling_cos(m1 * angle(cos) + m2) - m3


def none(cos: Tensor, m1: Tensor, m2: Tensor, m3: Tensor) -> Tensor:
    """cos(m1 theta + m2) - m3 at every angle, [B] -> [B]."""
    return torch.cos(m1 * angle(cos) + m2) - m3


def course(progress: float, *, m1: float, m2: float, m3: float, warmup: float) -> dict[str, float]:
    """m1 goes from 1, m2 and m3 from 0 in a straight line, over the first share ``warmup`` of the training."""
    share = rise(progress, over=warmup)
    return {"m1": 1 + share * (m1 - 1), "m2": share * m2, "m3": share * m3}


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m1: float = 1.0,
    m2: float = 0.3,
    m3: float = 0.2,
    warmup: float = 0.5,
    gradient: Literal["exact", "straight-through"] = "exact",
    beyond_pi: Literal["continuous", "none"] = "continuous",
) -> Loss:
    """``s``: scale, above 0. ``m1``: above 0. ``m2``: radians, in [0, pi]. ``m3``: in [0, 2].

    ``warmup``: in [0, 1]. The rest: see above.
    """
    Number(warmup, low=0, high=1).check("warmup")
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi={"continuous": continuous, "none": none}[beyond_pi],
        gradient=gradient,
        hyperparameters={
            "m1": Number(m1, above=0),
            "m2": Number(m2, low=0, high=math.pi),
            "m3": Number(m3, low=0, high=2),
        },
    )
