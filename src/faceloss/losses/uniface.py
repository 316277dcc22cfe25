"""UniFace: one threshold for all genuine and impostor similarities, learnt in K yes-or-no questions.

    loss = mean of  softplus(-(s (c_y - m) + b)) + weight * sum_{j != y} softplus(s c_j + b)

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale; m margin, a difference of cosines; b
one learnt bias, whose negative is the paper's threshold; it starts at -ln(10 K); weight of the wrong classes (l of the
released code); y [B] label.

Paper: Zhou et al., "UniFace: Unified Cross-Entropy Loss for Deep Face Recognition", ICCV 2023; defaults of its released
code.
Family: binary.
Batches: shuffled.
Deviations: the release clamps logits to [-s, s], beyond which there is no gradient; in log space they need no clamp.
Its sample of the classes is left to Partial FC. It fits no softmax head, because classes do not compete: see
BinaryHead.
Checked: formula read in its released code (CVI-SZU/UniFace); value and gradient against loops in its test.
"""

import math

from torch import Tensor

from faceloss.losses.binary import BinaryHead, Numbers
from faceloss.losses.core import Loss, Number


def yes(cos: Tensor, numbers: Numbers) -> Tensor:
    """c - m."""
    return cos - numbers["m"]


def no(cos: Tensor, numbers: Numbers) -> Tensor:
    """c."""
    return cos


def weigh(numbers: Numbers) -> tuple[float, Tensor]:
    """1 and the weight of the wrong classes."""
    return 1.0, numbers["weight"]


def build(dim: int, classes: int, *, s: float = 64.0, m: float = 0.4, weight: float = 1.0) -> Loss:
    """``s``, ``weight``: above 0. ``m``: margin on the cosine, in [0, 2]."""
    return BinaryHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=yes,
        phi=no,
        weigh=weigh,
        bias=-math.log(10 * max(classes, 1)),
        hyperparameters={"m": Number(m, low=0, high=2), "weight": Number(weight, above=0)},
    )
