"""CurricularFace: ArcFace, and hard wrong classes count little at first and more as training gets on.

    loss = mean of -log( exp(s psi(c_y)) / ( exp(s psi(c_y)) + sum_{j != y} exp(s r_j) ) )
    r_j = c_j (t + c_j)  where c_j > psi(c_y),  c_j elsewhere
    t <- (1 - rate) t + rate * mean over the batch of c_y         before each training step, from t = 0 on

c_j [B,K] cosine between embedding and class vector j, both normalized; psi(c) = cos(theta + m) as in ArcFace, m in
radians; s scale; rate of the running mean t; y [B] label. Evaluation uses t and does not move it.

Paper: Huang et al., "CurricularFace: Adaptive Curriculum Learning Loss for Deep Face Recognition", CVPR 2020, and its
released code.
Family: adaptive margin.
Batches: shuffled.
Deviations: beyond theta + m = pi, "hard" is measured against psi by the rule "subtract" of ArcFace, in the release
against cos(theta + m) there.
Checked: formula read in its released code (HuangYG123/CurricularFace); value and gradient against loops in its test.
"""

import math

import torch
from torch import Tensor, nn

from faceloss.losses.arcface import subtract
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.scores import Change


class Curriculum(nn.Module):
    """c (t + c) where c > psi(c_y), of each score, and the running mean t of the target cosine."""

    t: Tensor  # 0-d

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("t", torch.zeros(()))

    def forward(self, cos: Tensor, margin: Tensor, rate: Tensor) -> Change:
        if self.training:
            self.t.lerp_(cos.detach().mean().to(self.t.dtype), float(rate))
        t = self.t.clone()  # what autograd keeps must not move with the next batch
        return lambda scores: torch.where(scores > margin.unsqueeze(1), scores * (t + scores), scores)


def build(dim: int, classes: int, *, s: float = 64.0, m: float = 0.5, rate: float = 0.01) -> Loss:
    """``s``: scale, above 0. ``m``: margin in radians, in [0, pi]. ``rate``: of the running mean, in [0, 1]."""
    numbers = {"m": Number(m, low=0, high=math.pi), "rate": Number(rate, low=0, high=1)}
    return ClassHead(dim, classes, scale=Number(s, above=0), psi=subtract, others=Curriculum(), hyperparameters=numbers)
