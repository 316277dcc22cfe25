"""ElasticFace: ArcFace or CosFace with a margin drawn anew for each sample.

    loss = mean of -log( exp(s psi(c_y)) / ( exp(s psi(c_y)) + sum_{j != y} exp(s c_j) ) )
    psi(theta) = cos(theta + m_i) or cos(theta) - m_i,  m_i ~ N(m, sd)

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale; m and sd mean and standard deviation of
the margin, in radians ("arcface") or differences of cosines ("cosface"); y [B] label. ``margin`` says which. ``assign``
"random" gives the draws to samples as they come, "sorted" (the paper's "+") the larger ones to the smaller target
cosines. The paper's m and sd: Arc 0.5 and 0.05 (the defaults), Arc+ 0.5 and 0.0175, Cos 0.35 and 0.05, Cos+ 0.35 and
0.02. In evaluation every margin is m. ``warmup`` is the share of the training over which m and sd rise, for the reason
given in ArcFace; 0 is the published setting.

Paper: Boutros et al., "ElasticFace: Elastic Margin Loss for Deep Face Recognition", CVPR Workshops 2022.
Family: adaptive margin.
Batches: shuffled.
Course: m and sd rise from 0 to their values in a straight line over the first half (``warmup``) of the training.
Deviations: ``warmup`` is ours. Beyond theta + m_i = pi, "arcface" has the rule "subtract" of ArcFace; the release has
none.
Checked: formula read in its released code (fdbtrs/ElasticFace); value and gradient against loops in its test.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses import arcface, cosface
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.search.courses import rise


class Elastic(nn.Module):
    """psi(c, m_i) with random m_i, [B] -> [B]."""

    def __init__(self, psi: Callable[[Tensor, Tensor], Tensor], *, ordered: bool):
        super().__init__()
        self.psi = psi
        self.ordered = ordered

    def forward(self, cos: Tensor, m: Tensor, sd: Tensor, generator: Callable[[str], torch.Generator]) -> Tensor:
        if not self.training:
            return self.psi(cos, m)
        margins = m + sd * torch.randn(len(cos), generator=generator("margins"), dtype=torch.float64).to(cos.device)
        if self.ordered:
            order = cos.detach().argsort()
            margins = margins.sort(descending=True).values[order.argsort()]
        return self.psi(cos, margins.to(cos.dtype))


def course(progress: float, *, m: float, sd: float, warmup: float) -> dict[str, float]:
    """m and sd rise from 0 in a straight line, over the first share ``warmup`` of the training."""
    share = rise(progress, over=warmup)
    return {"m": share * m, "sd": share * sd}


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.5,
    sd: float = 0.05,
    warmup: float = 0.5,
    margin: Literal["arcface", "cosface"] = "arcface",
    assign: Literal["random", "sorted"] = "random",
) -> Loss:
    """``s``: scale, above 0. ``m``: mean margin, in [0, 2]. ``sd``: its spread, at least 0. ``warmup``: in [0, 1].

    The rest: see above.
    """
    Number(warmup, low=0, high=1).check("warmup")
    psi = arcface.subtract if margin == "arcface" else cosface.psi
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=Elastic(psi, ordered=assign == "sorted"),
        hyperparameters={"m": Number(m, low=0, high=2), "sd": Number(sd, low=0)},
    )
