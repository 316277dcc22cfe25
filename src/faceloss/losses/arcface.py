"""ArcFace: an angle is added to the target's angle.

    loss = mean of -log( exp(s psi(theta_y)) / ( exp(s psi(theta_y)) + sum_{j != y} exp(s cos theta_j) ) )
    psi(theta) = cos(theta + m)             while theta + m <= pi

theta_j [B,K] angle between embedding and class vector j, both normalized; s scale; m margin in radians; y [B] label.
Beyond theta + m = pi, cos(theta + m) rises again, which would reward the worst samples; ``beyond_pi`` names the rule
there (c = cos theta):

    "subtract"    c - m sin(m)         the authors' rule: decreasing and <= c, with a jump at theta = pi - m
                                       (for m = 0.5 at 151.4 degrees, down from -1 to -1.117)
    "continuous"  -2 - cos(theta + m)  the mirror image at -1: decreasing, <= c, without jump or kink
    "none"        cos(theta + m)       no rule: not monotone

``gradient`` "exact" differentiates psi: d psi / d c = sin(theta + m) / sin(theta). "straight-through" lets the margin
change the value but not the slope, d psi / d c = 1, as several public implementations do; it trains another network
under the same name and the same loss values.

With the exact slope, a sample further than (pi - m)/2 from its own class vector is pulled at it by less than the wrong
classes together push it off, and from scratch all samples start near 90 degrees: with the full margin from the first
step, embeddings and class vectors may drift apart as a whole, until theta + m is about pi. ``warmup``, the share of the
training over which m rises, keeps them from it; 0 is the published setting, for networks that are trained already.

Paper: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, eq. 3; "subtract" is
the rule of its released MXNet code.
Family: margin.
Batches: shuffled.
Course: m rises from 0 to its value in a straight line over the first half (``warmup``) of the training.
Deviations: ``warmup`` is ours. At cos = +-1 exactly, where the slope of cos(theta + m) is infinite, it is taken as that
of c cos(m). "continuous" is ours, by analogy with the extension of L-Softmax.
Checked: formula read in its released code (deepinsight/insightface); value and gradient against loops in its test;
value and gradient against pytorch-metric-learning 2.9.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import add_angle
from faceloss.search.courses import rise


def subtract(cos: Tensor, m: Tensor) -> Tensor:
    """cos(theta + m) up to theta + m = pi, c - m sin(m) beyond, [B] -> [B]."""
    return torch.where(cos > -torch.cos(m), add_angle(cos, m), cos - m * torch.sin(m))


def continuous(cos: Tensor, m: Tensor) -> Tensor:
    """cos(theta + m) up to theta + m = pi, -2 - cos(theta + m) beyond, [B] -> [B]."""
    turned = add_angle(cos, m)
    return torch.where(cos > -torch.cos(m), turned, -2 - turned)


def course(progress: float, *, m: float, warmup: float) -> dict[str, float]:
    """m rises from 0 in a straight line, over the first share ``warmup`` of the training."""
    return {"m": m * rise(progress, over=warmup)}


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.5,
    warmup: float = 0.5,
    gradient: Literal["exact", "straight-through"] = "exact",
    beyond_pi: Literal["subtract", "continuous", "none"] = "subtract",
) -> Loss:
    """``s``: scale, above 0. ``m``: margin in radians, in [0, pi]. ``warmup``: in [0, 1]. The rest: see above."""
    Number(warmup, low=0, high=1).check("warmup")
    rules = {"subtract": subtract, "continuous": continuous, "none": add_angle}
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=rules[beyond_pi],
        gradient=gradient,
        hyperparameters={"m": Number(m, low=0, high=math.pi)},
    )
