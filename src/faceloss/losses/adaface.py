"""AdaFace: the margin follows the norm of the embedding, as a measure of how good the image is.

    loss = mean of -log( exp(s psi_y) / ( exp(s psi_y) + sum_{j != y} exp(s cos theta_j) ) )
    psi_y = cos(clip(theta_y - m z, 0, pi)) - (m + m z),  z = clip(h (||x|| - mu) / (sigma + 0.001), -1, 1)
    mu, sigma <- (1 - rate) (mu, sigma) + rate * (mean, standard deviation of ||x|| over the batch)

x [B,D] embedding as it comes, theta_j [B,K] angle between it and class vector j, both normalized; s scale; m margin; h
concentration; rate of the running numbers, which move before each training step and start at 20 and 100; ||x|| counts
within 0.001 .. 100; y [B] label. ``gradient`` "detached" lets no gradient through z, as paper and release do; "exact"
does. Evaluation uses mu and sigma and does not move them.

Paper: Kim, Jain, Liu, "AdaFace: Quality Adaptive Margin for Face Recognition", CVPR 2022, eq. 15 to 18; h, the start of
mu and sigma and the clip from its released code.
Family: adaptive margin.
Batches: shuffled.
Deviations: angles are clipped to [0, pi], in the release to 0.001 off its ends. A batch of one sample has no standard
deviation and leaves sigma as it is.
Checked: formula read in its released code (mk-minchul/AdaFace); value and gradient against loops in its test.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import angle


class Quality(nn.Module):
    """psi of the formula, [B] -> [B], and the running mean and deviation of the norm."""

    mean: Tensor  # 0-d
    deviation: Tensor  # 0-d

    def __init__(self, *, detached: bool):
        super().__init__()
        self.detached = detached
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("deviation", torch.tensor(100.0))

    @property
    def middle_norm(self) -> float:
        """The norm of an average image, where z = 0."""
        return float(self.mean)

    def forward(self, cos: Tensor, norm: Tensor, m: Tensor, h: Tensor, rate: Tensor) -> Tensor:
        norm = norm.clamp(1e-3, 100.0)
        norm = norm.detach() if self.detached else norm
        if self.training:
            self._follow(norm.detach(), float(rate))
        z = (h * (norm - self.mean.clone()) / (self.deviation.clone() + 1e-3)).clamp(-1, 1)
        return torch.cos((angle(cos) - m * z).clamp(0, math.pi)) - (m + m * z)

    def _follow(self, norm: Tensor, rate: float) -> None:
        self.mean.lerp_(norm.mean().to(self.mean.dtype), rate)
        if len(norm) > 1:
            self.deviation.lerp_(norm.std().to(self.deviation.dtype), rate)


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.4,
    h: float = 0.333,
    rate: float = 0.01,
    gradient: Literal["detached", "exact"] = "detached",
) -> Loss:
    """``s``: above 0. ``m``: margin, in [0, 1]. ``h``: at least 0. ``rate``: in [0, 1]. ``gradient``: see above."""
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=Quality(detached=gradient == "detached"),
        hyperparameters={
            "m": Number(m, low=0, high=1),
            "h": Number(h, low=0),
            "rate": Number(rate, low=0, high=1),
        },
    )
