"""MV-Softmax: wrong classes that beat the target with its margin are raised.

    loss = mean of -log( exp(s psi(c_y)) / ( exp(s psi(c_y)) + sum_{j != y} exp(s r_j) ) )
    r_j = (1 + t) c_j + t  where c_j > psi(c_y),  c_j elsewhere

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale; m margin; t >= 0 weight of the
misclassified; y [B] label. ``margin`` "cosface" is psi(c) = c - m (MV-AM), "arcface" psi = cos(theta + m) with m in
radians (MV-Arc).

Paper: Wang et al., "Mis-classified Vector Guided Softmax Loss for Face Recognition", AAAI 2020; defaults of its
released code.
Family: adaptive margin.
Batches: shuffled.
Deviations: the release takes the margin only from targets with c_y > m ("cosface") or c_y > 0 ("arcface"), which makes
the target logit jump; here always, and beyond theta + m = pi "arcface" has the rule "subtract" of ArcFace.
Checked: formula read in its released code (xiaoboCASIA/SV-X-Softmax); value and gradient against loops in its test.
"""

from typing import Literal

import torch
from torch import Tensor

from faceloss.losses import arcface, cosface
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.scores import Change


def raise_misclassified(margin: Tensor, t: Tensor) -> Change:
    """(1 + t) c + t where c > psi(c_y), of each score."""
    return lambda scores: torch.where(scores > margin.unsqueeze(1), (1 + t) * scores + t, scores)


def build(
    dim: int,
    classes: int,
    *,
    s: float = 32.0,
    m: float = 0.35,
    t: float = 0.2,
    margin: Literal["cosface", "arcface"] = "cosface",
) -> Loss:
    """``s``: scale, above 0. ``m``: margin, in [0, 2]. ``t``: weight of the misclassified, at least 0."""
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=cosface.psi if margin == "cosface" else arcface.subtract,
        others=raise_misclassified,
        hyperparameters={"m": Number(m, low=0, high=2), "t": Number(t, low=0)},
    )
