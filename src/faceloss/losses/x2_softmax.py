"""X2-Softmax: the target logit is a parabola of the target's angle.

    loss = mean of -log( exp(s psi(theta_y)) / ( exp(s psi(theta_y)) + sum_{j != y} exp(s cos theta_j) ) )
    psi(theta) = a (theta - h)^2 + k

theta_j [B,K] angle between embedding and class vector j in radians, both normalized; s scale; a < 0 opening, h and k
the parabola's vertex; y [B] label. psi falls on all of [0, pi] where h <= 0. ``gradient`` "straight-through" lets the
parabola change the value but not the slope, as the released code does; "exact" differentiates it. No default is known
for a, h and k.

Paper: Xu et al., "X2-Softmax: Margin Adaptive Loss Function for Face Recognition", 2023.
Family: margin.
Batches: shuffled.
Deviations: No default of a, h and k: the release takes them from the command line and the paper was not at hand; s = 64
is recalled, not looked up. At cos = +-1 exactly the slope of theta is taken as about 0.
Start with: a = -0.25, h = -0.4, k = 0.97; nothing is published. With these psi(theta) <= cos(theta) at every angle, by
0.07 to 0.11 up to 50 degrees and by next to nothing at 90.
Checked: formula read in its released code (XieZixiUSTC/X2-Softmax); value and gradient against loops in its test.
"""

from typing import Literal

from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import angle


def parabola(cos: Tensor, a: Tensor, h: Tensor, k: Tensor) -> Tensor:
    """a (theta - h)^2 + k, [B] -> [B]."""
    return a * (angle(cos) - h).square() + k


def build(
    dim: int,
    classes: int,
    *,
    a: float,
    h: float,
    k: float,
    s: float = 64.0,
    gradient: Literal["straight-through", "exact"] = "straight-through",
) -> Loss:
    """``a``: below or equal 0. ``h``: radians. ``k``: a cosine. ``s``: scale, above 0. ``gradient``: see above."""
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=parabola,
        gradient=gradient,
        hyperparameters={"a": Number(a, high=0), "h": Number(h), "k": Number(k)},
    )
