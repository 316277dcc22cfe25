"""MagFace: ArcFace with a margin that grows with the norm of the embedding, and a pull towards large norms.

    loss = mean of -log( exp(s psi_y) / ( exp(s psi_y) + sum_{j != y} exp(s cos theta_j) ) ) + lam * mean of g(a)
    psi_y = cos(theta_y + m(a)),  m(a) from m_low at a = a_low to m_high at a = a_high, in a straight line
    g(a) = 1 / a + a / a_high^2,  a = ||x|| clipped to [a_low, a_high]

x [B,D] embedding as it comes, theta_j [B,K] angle between it and class vector j, both normalized; s scale; m_low and
m_high margins in radians at the norms a_low and a_high; lam weight of the pull; y [B] label. ``target`` "easy" takes
the margin only where cos theta_y > 0, as the release does: psi jumps up at 90 degrees by sin(m). "subtract" is the rule
of ArcFace beyond pi instead. A norm outside [a_low, a_high] gets no gradient from m(a) and g(a), in the release too:
a network all of whose norms start below a_low keeps them there. Where its last layer is a batch normalization, norms
start near sqrt(D): 22.6 in the release's 512 dimensions, 11.3 in 128, and below a_low = 10 in less than 100. There,
give a_low and a_high to suit, or ``below`` "pull": g goes on below a_low along its tangent, which lifts short
embeddings at any norm above 0. ``below`` "clip" is the release.

Paper: Meng et al., "MagFace: A Universal Representation for Face Recognition and Quality Assessment", CVPR 2021, eq. 3,
with the settings of its released run script.
Family: adaptive margin.
Batches: shuffled.
Deviations: ``below`` "pull" is ours. The paper needs lam >= s k u^2 l^2 / (u^2 - l^2), with k the slope of m(a), l =
a_low and u = a_high: 22.6 for these settings. The release's default of 20 is below that, its script's 35 is not.
Checked: formula read in its released code (IrvingMeng/MagFace); value and gradient against loops in its test.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses.arcface import subtract
from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import add_angle
from faceloss.losses.sums import SumLoss, Term


def easy(cos: Tensor, m: Tensor) -> Tensor:
    """cos(theta + m) where cos theta > 0, cos theta elsewhere, [B] -> [B]."""
    return torch.where(cos > 0, add_angle(cos, m), cos)


class Magnitude(nn.Module):
    """psi(c, m(a)), [B] -> [B]."""

    def __init__(self, psi: Callable[[Tensor, Tensor], Tensor], a_low: float, a_high: float):
        super().__init__()
        self.psi, self.a_low, self.a_high = psi, a_low, a_high

    @property
    def middle_norm(self) -> float:
        """The norm halfway between m_low and m_high."""
        return (self.a_low + self.a_high) / 2

    def forward(self, cos: Tensor, norm: Tensor, m_low: Tensor, m_high: Tensor) -> Tensor:
        share = (norm.clamp(self.a_low, self.a_high) - self.a_low) / (self.a_high - self.a_low)  # [B]
        return self.psi(cos, m_low + (m_high - m_low) * share)


class NormPull(Loss):
    """mean of g(a)."""

    def __init__(self, dim: int, classes: int, a_low: float, a_high: float, *, pulled: bool):
        super().__init__(dim, classes, batches="shuffled", hyperparameters={})
        self.a_low, self.a_high, self.pulled = a_low, a_high, pulled

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        norm = torch.linalg.vector_norm(embeddings, dim=1)
        a = norm.clamp(self.a_low, self.a_high)
        pull = 1 / a + a / self.a_high**2
        if self.pulled:  # the tangent at a_low: unlike 1 / a, it is finite at 0
            pull = pull + (1 / self.a_low**2 - 1 / self.a_high**2) * (self.a_low - norm).clamp_min(0)
        return LossOutput(pull.mean(), {})

    def remark(self, steps: int) -> str:
        """Whether norms are likely to start, and then to stay, below a_low."""
        start = self.dim**0.5
        if self.pulled or start >= self.a_low:
            return ""
        return (
            f"Norms start near sqrt({self.dim}) = {start:.1f} where a network ends in batch normalization, which is "
            f"below a_low = {self.a_low:g}, where they get no gradient. Give below=pull, or smaller a_low and a_high."
        )


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m_low: float = 0.45,
    m_high: float = 0.8,
    a_low: float = 10.0,
    a_high: float = 110.0,
    lam: float = 35.0,
    target: Literal["easy", "subtract"] = "easy",
    below: Literal["clip", "pull"] = "clip",
) -> Loss:
    """``s``: above 0. ``m_low``, ``m_high``: in [0, pi]. ``a_low``: above 0, below ``a_high``. ``lam``: at least 0.

    ``target``, ``below``: see above.
    """
    Number(a_low, above=0).check("a_low")
    Number(a_high, above=a_low).check("a_high")
    psi = Magnitude(easy if target == "easy" else subtract, a_low, a_high)
    margins = {"m_low": Number(m_low, low=0, high=math.pi), "m_high": Number(m_high, low=0, high=math.pi)}
    terms = {
        "magface": Term(ClassHead(dim, classes, scale=Number(s, above=0), psi=psi, hyperparameters=margins)),
        "norm_pull": Term(NormPull(dim, classes, a_low, a_high, pulled=below == "pull"), weight="lam"),
    }
    return SumLoss(dim, classes, terms=terms, hyperparameters={"lam": Number(lam, low=0)})
