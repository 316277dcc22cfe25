"""ArcNegFace: ArcFace, and wrong classes count the more the nearer their cosine is to the target's.

    loss = mean of -log( exp(s psi(c_y)) / ( exp(s psi(c_y)) + sum_{j != y} exp(s (t_j c_j + t_j - 1)) ) )
    t_j = alpha exp( -(c_j - psi(c_y))^2 / sigma )

c_j [B,K] cosine between embedding and class vector j, both normalized; psi(c) = cos(theta + m) as in ArcFace, with its
rule "subtract" beyond pi, m in radians; s scale; alpha and sigma height and width of the weight; y [B] label.
``gradient`` "detached" holds t_j constant, as the released code does; "exact" differentiates it. ``warmup`` is the
share of the training over which m and alpha rise: from scratch samples start near 90 degrees, where a margin lowers the
pull of the own class (see ArcFace) and an alpha above 1 raises the push of the others. 0 is the published setting.

Paper: Liu et al., "Towards Flops-constrained Face Recognition", ICCV Workshops 2019; defaults of the public code.
Family: adaptive margin.
Batches: shuffled.
Course: m rises from 0 and alpha from 1 to their values in a straight line over the first half (``warmup``) of the
training.
Deviations: ``warmup`` is ours.
Checked: formula read in public code (JDAI-CV/FaceX-Zoo); value and gradient against loops in its test.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.arcface import subtract
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.scores import Change
from faceloss.search.courses import rise


def weigh(margin: Tensor, alpha: Tensor, sigma: Tensor) -> Change:
    """t c + t - 1, of each score."""

    def change(scores: Tensor) -> Tensor:
        t = alpha * torch.exp(-(scores - margin.unsqueeze(1)).square() / sigma)
        return t * scores + t - 1

    return change


def weigh_detached(margin: Tensor, alpha: Tensor, sigma: Tensor) -> Change:
    """t c + t - 1 with t held constant, of each score."""

    def change(scores: Tensor) -> Tensor:
        t = alpha * torch.exp(-(scores - margin.unsqueeze(1)).square() / sigma).detach()
        return t * scores + t - 1

    return change


def course(progress: float, *, m: float, alpha: float, warmup: float) -> dict[str, float]:
    """m rises from 0 and alpha from 1 in a straight line, over the first share ``warmup`` of the training."""
    share = rise(progress, over=warmup)
    return {"m": share * m, "alpha": 1 + share * (alpha - 1)}


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.5,
    alpha: float = 1.2,
    sigma: float = 2.0,
    warmup: float = 0.5,
    gradient: Literal["detached", "exact"] = "detached",
) -> Loss:
    """``s``: scale, above 0. ``m``: radians, in [0, pi]. ``alpha``, ``sigma``: above 0. ``warmup``: in [0, 1].

    ``gradient``: see above.
    """
    Number(warmup, low=0, high=1).check("warmup")
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=subtract,
        others=weigh_detached if gradient == "detached" else weigh,
        hyperparameters={
            "m": Number(m, low=0, high=math.pi),
            "alpha": Number(alpha, above=0),
            "sigma": Number(sigma, above=0),
        },
    )
