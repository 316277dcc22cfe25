"""Circle loss, in the form with class vectors: each cosine is weighed by its distance from where it should be.

    loss = mean of -log( exp(s p) / ( exp(s p) + sum_{j != y} exp(s n_j) ) )
    p = [1 + m - c_y]_+ (c_y - (1 - m)),  n_j = [c_j + m]_+ (c_j - m)

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale (gamma of the paper); m relaxation; y
[B] label. ``gradient`` "detached" holds the weights in [ ]_+ constant, as paper and public code do; "exact"
differentiates them.

Paper: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 5 to 8.
Family: adaptive margin.
Batches: shuffled.
Deviations: none.
Checked: formula read in public code (TinyZeaMays/CircleLoss, JDAI-CV/FaceX-Zoo); value and gradient against loops in
its test; value and gradient against pytorch-metric-learning 2.9.
"""

from typing import Literal

from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.scores import Change


def positive(cos: Tensor, m: Tensor) -> Tensor:
    """[1 + m - c]_+ (c - 1 + m), [B] -> [B]."""
    return (1 + m - cos).clamp_min(0) * (cos - 1 + m)


def positive_detached(cos: Tensor, m: Tensor) -> Tensor:
    """The same with the weight held constant."""
    return (1 + m - cos.detach()).clamp_min(0) * (cos - 1 + m)


def negative(m: Tensor) -> Change:
    """[c + m]_+ (c - m), of each score."""
    return lambda scores: (scores + m).clamp_min(0) * (scores - m)


def negative_detached(m: Tensor) -> Change:
    """The same with the weight held constant."""
    return lambda scores: (scores.detach() + m).clamp_min(0) * (scores - m)


def build(
    dim: int,
    classes: int,
    *,
    s: float = 256.0,
    m: float = 0.25,
    gradient: Literal["detached", "exact"] = "detached",
) -> Loss:
    """``s``: scale, above 0. ``m``: relaxation, in [0, 1]. ``gradient``: see above."""
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=positive if gradient == "exact" else positive_detached,
        others=negative if gradient == "exact" else negative_detached,
        hyperparameters={"m": Number(m, low=0, high=1)},
    )
