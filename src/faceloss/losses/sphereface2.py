"""SphereFace2: K yes-or-no questions, with a margin on both answers.

    loss = lw / s * mean of  lam softplus(-(s (g(c_y) - m) + b)) + (1 - lam) sum_{j != y} softplus(s (g(c_j) + m) + b)
    g(c) = 2 ((c + 1) / 2)^t - 1

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale (r of the paper); m margin, a difference
of similarities; t shape of the similarity g; lam balance of yes and no; b learnt bias; lw weight of the whole; y [B]
label. b starts where the loss is smallest with all cosines 0. ``gradient`` "straight-through" lets g and m change the
value but not the slope, as the released code does; "exact" differentiates them.

Paper: Wen et al., "SphereFace2: Binary Classification is All You Need for Deep Face Recognition", ICLR 2022, the
version with the margin of CosFace (C); defaults of the released code.
Family: binary.
Batches: shuffled.
Deviations: the multiplicative and the angular margin of the paper are not here. The start of b is computed so that it
stays finite for a few classes too. It fits no softmax head, because classes do not compete: see BinaryHead.
Checked: formula read in its released code (ydwen/opensphere); value and gradient against loops in its test.
"""

import math
from typing import Literal

from torch import Tensor

from faceloss.losses.binary import BinaryHead, Numbers
from faceloss.losses.core import Loss, Number


def similarity(cos: Tensor, t: Tensor) -> Tensor:
    """g(c) = 2 ((c + 1) / 2)^t - 1, from [-1, 1] to [-1, 1]."""
    return 2 * ((cos + 1) / 2).clamp_min(0) ** t.to(cos.dtype) - 1  # rounding can take c below -1


def yes(cos: Tensor, numbers: Numbers) -> Tensor:
    """g(c) - m."""
    return similarity(cos, numbers["t"]) - numbers["m"]


def no(cos: Tensor, numbers: Numbers) -> Tensor:
    """g(c) + m."""
    return similarity(cos, numbers["t"]) + numbers["m"]


def weigh(numbers: Numbers) -> tuple[Tensor, Tensor]:
    """lw lam / s and lw (1 - lam) / s."""
    return numbers["lw"] * numbers["lam"] / numbers["s"], numbers["lw"] * (1 - numbers["lam"]) / numbers["s"]


def start(classes: int, s: float, m: float, t: float, lam: float) -> float:
    """The b at which the loss of cosines 0 is smallest: lam sigmoid(-p - b) = (1 - lam) (K - 1) sigmoid(n + b)."""
    ratio = lam / ((1 - lam) * (classes - 1))
    middle = 2 * math.pow(0.5, t) - 1
    p, n = s * (middle - m), s * (middle + m)
    root = math.sqrt((1 - ratio) ** 2 + 4 * ratio * math.exp(p - n))
    if ratio < 1:
        return math.log(2 * ratio) - n - math.log(1 - ratio + root)
    return math.log(ratio - 1 + root) - math.log(2) - p  # the same number without a difference of equals


def build(
    dim: int,
    classes: int,
    *,
    s: float = 40.0,
    m: float = 0.4,
    t: float = 3.0,
    lam: float = 0.7,
    lw: float = 50.0,
    gradient: Literal["straight-through", "exact"] = "straight-through",
) -> Loss:
    """``s``, ``lw``: above 0. ``m``: in [0, 2]. ``t``: at least 1. ``lam``: in (0, 1). ``gradient``: see above."""
    numbers = {
        "m": Number(m, low=0, high=2),
        "t": Number(t, low=1),
        "lam": Number(lam, above=0, high=0.999),
        "lw": Number(lw, above=0),
    }
    scale = Number(s, above=0)
    for name, number in (numbers | {"s": scale}).items():
        number.check(name)
    bias = start(classes, s, m, t, lam) if classes > 1 else 0.0
    return BinaryHead(
        dim,
        classes,
        scale=scale,
        psi=yes,
        phi=no,
        weigh=weigh,
        bias=bias,
        gradient=gradient,
        hyperparameters=numbers,
    )
