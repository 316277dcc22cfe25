"""NPCFace: the target's margin grows with the cosines of the hard wrong classes, and those are raised.

    loss = mean of -log( exp(s psi_y) / ( exp(s psi_y) + sum_{j != y} exp(s r_j) ) )
    psi_y = cos(theta_y + m0 + m1 h),  h = mean of c_j over the hard j, 0 where none is hard
    r_j = t c_j + a  where j is hard,  c_j elsewhere;   j != y is hard where c_j > cos(theta_y + m)

c_j [B,K] cosine between embedding and class vector j, both normalized; theta_y angle to the own one; s scale; m, m0
and m1 in radians; t factor and a shift of the hard; y [B] label. ``target`` "easy" takes the margin only where cos
theta_y > 0, as that implementation does: psi jumps up at 90 degrees. "subtract" takes it always, with the rule of
ArcFace beyond pi. ``gradient`` "detached" holds h constant, as there; "exact" differentiates it.

Paper: Zeng et al., "NPCFace: Negative-Positive Collaborative Training for Large-scale Face Recognition", 2020 (arXiv
2007.10172); formula and defaults as in the implementation in FaceX-Zoo, by two of its authors, whose training
configuration has s = 32 and m = 0.35.
Family: adaptive margin.
Batches: shuffled.
Deviations: beyond theta_y + m = pi, "hard" is measured against the rule "subtract" of ArcFace, there against
cos(theta_y + m). The paper's text was not at hand.
Checked: formula read in public code (JDAI-CV/FaceX-Zoo, by two of its authors); value and gradient against loops in its
test.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses.arcface import subtract
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.magface import easy


def hard(scores: Tensor, cos: Tensor, m: Tensor) -> Tensor:
    """Which classes are hard, [B,K] bool."""
    return scores > subtract(cos, m).unsqueeze(1)


class Collaborative(nn.Module):
    """psi(c, m0 + m1 h), [B] -> [B]."""

    def __init__(self, *, jumps: bool, detached: bool):
        super().__init__()
        self.psi = easy if jumps else subtract
        self.detached = detached

    def forward(self, cos: Tensor, scores: Tensor, m: Tensor, m0: Tensor, m1: Tensor) -> Tensor:
        chosen = hard(scores, cos, m)
        scores = scores.detach() if self.detached else scores
        h = torch.where(chosen, scores, 0.0).sum(1) / chosen.sum(1).clamp_min(1)  # [B]
        return self.psi(cos, m0 + m1 * h)


def raise_hard(scores: Tensor, cos: Tensor, m: Tensor, t: Tensor, a: Tensor) -> Tensor:
    """t c + a where c is hard, [B,K] -> [B,K]."""
    return torch.where(hard(scores, cos, m), t * scores + a, scores)


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.5,
    m0: float = 0.4,
    m1: float = 0.2,
    t: float = 1.1,
    a: float = 0.2,
    target: Literal["easy", "subtract"] = "easy",
    gradient: Literal["detached", "exact"] = "detached",
) -> Loss:
    """``s``: above 0. ``m``: in [0, pi]. ``m0``, ``m1``: in [0, pi/2]. ``t``: at least 1. ``a``: at least 0."""
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=Collaborative(jumps=target == "easy", detached=gradient == "detached"),
        others=raise_hard,
        hyperparameters={
            "m": Number(m, low=0, high=math.pi),
            "m0": Number(m0, low=0, high=math.pi / 2),
            "m1": Number(m1, low=0, high=math.pi / 2),
            "t": Number(t, low=1),
            "a": Number(a, low=0),
        },
    )
