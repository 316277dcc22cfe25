"""SphereFace2: K yes-or-no questions, with a margin on both answers.

    loss = lw / s * mean of  lam softplus(-(s psi(c_y) + b)) + (1 - lam) sum_{j != y} softplus(s phi(c_j) + b)
    g(c) = 2 ((c + 1) / 2)^t - 1

    kind    psi(c)                          phi(c)
    "C"     g(c) - m                        g(c) + m
    "A"     g(cos(min(theta + m, pi)))      g(c)
    "M"     g(cos(min(m theta, pi)))        g(c)

c_j [B,K] cosine between embedding and class vector j, both normalized, theta its angle; s scale (r of the paper); m
margin: a difference of similarities, an angle in radians or a factor; t shape of the similarity g; lam balance of yes
and no; b learnt bias; lw weight of the whole; y [B] label. b starts where the loss is smallest with all cosines 0.
``gradient`` "straight-through" lets psi and phi change values but not slopes, as the released code does; "exact"
differentiates them, which in "A" and "M" gives no gradient to a target that is at pi already.

Paper: Wen et al., "SphereFace2: Binary Classification is All You Need for Deep Face Recognition", ICLR 2022, with the
margin of CosFace (C), of ArcFace (A) or of SphereFace (M); defaults of the released code. Its configurations have m =
0.5 for "A" and 1.7 for "M", for which the default of 0.4 is refused.
Family: binary.
Batches: shuffled.
Deviations: the start of b is computed so that it stays finite for a few classes too. It fits no softmax head, because
classes do not compete: see BinaryHead.
Checked: formula read in its released code (ydwen/opensphere); value and gradient against loops in its test.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.binary import BinaryHead, Change, Numbers
from faceloss.losses.core import Loss, Number
from faceloss.losses.operations import angle


def similarity(cos: Tensor, t: Tensor) -> Tensor:
    """g(c) = 2 ((c + 1) / 2)^t - 1, from [-1, 1] to [-1, 1]."""
    return 2 * ((cos + 1) / 2).clamp_min(0) ** t.to(cos.dtype) - 1  # rounding can take c below -1


def lowered(cos: Tensor, numbers: Numbers) -> Tensor:
    """g(c) - m."""
    return similarity(cos, numbers["t"]) - numbers["m"]


def raised(cos: Tensor, numbers: Numbers) -> Tensor:
    """g(c) + m."""
    return similarity(cos, numbers["t"]) + numbers["m"]


def turned(cos: Tensor, numbers: Numbers) -> Tensor:
    """g(cos(min(theta + m, pi)))."""
    return similarity((angle(cos) + numbers["m"]).clamp_max(math.pi).cos(), numbers["t"])


def multiplied(cos: Tensor, numbers: Numbers) -> Tensor:
    """g(cos(min(m theta, pi)))."""
    return similarity((numbers["m"] * angle(cos)).clamp_max(math.pi).cos(), numbers["t"])


def plain(cos: Tensor, numbers: Numbers) -> Tensor:
    """g(c)."""
    return similarity(cos, numbers["t"])


KINDS: dict[str, tuple[Change, Change]] = {"C": (lowered, raised), "A": (turned, plain), "M": (multiplied, plain)}


def weigh(numbers: Numbers) -> tuple[Tensor, Tensor]:
    """lw lam / s and lw (1 - lam) / s."""
    return numbers["lw"] * numbers["lam"] / numbers["s"], numbers["lw"] * (1 - numbers["lam"]) / numbers["s"]


def start(classes: int, lam: float, p: float, n: float) -> float:
    """The b at which the loss of cosines 0 is smallest: lam sigmoid(-p - b) = (1 - lam) (K - 1) sigmoid(n + b).

    p = s psi(0) <= n = s phi(0) are the logits there, without b.
    """
    ratio = lam / ((1 - lam) * (classes - 1))
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
    kind: Literal["C", "A", "M"] = "C",
    gradient: Literal["straight-through", "exact"] = "straight-through",
) -> Loss:
    """``s``, ``lw``: above 0. ``m``: in [0, 2] (C), [0, pi] (A), at least 1 (M). ``t``: at least 1. ``lam``: in (0, 1).

    ``kind``, ``gradient``: see above.
    """
    ranges = {"C": Number(m, low=0, high=2), "A": Number(m, low=0, high=math.pi), "M": Number(m, low=1)}
    numbers = {
        "m": ranges[kind],
        "t": Number(t, low=1),
        "lam": Number(lam, above=0, high=0.999),
        "lw": Number(lw, above=0),
    }
    scale = Number(s, above=0)
    for name, number in (numbers | {"s": scale}).items():
        number.check(name)
    psi, phi = KINDS[kind]
    orthogonal = torch.zeros((), dtype=torch.float64, device="cpu")
    values = {name: orthogonal + number.value for name, number in numbers.items()}
    p, n = (s * float(change(orthogonal, values)) for change in (psi, phi))
    return BinaryHead(
        dim,
        classes,
        scale=scale,
        psi=psi,
        phi=phi,
        weigh=weigh,
        bias=start(classes, lam, p, n) if classes > 1 else 0.0,
        gradient=gradient,
        hyperparameters=numbers,
    )
