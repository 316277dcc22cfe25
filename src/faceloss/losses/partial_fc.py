"""Partial FC: a margin softmax over the classes of the batch and a random sample of the others.

    loss = mean of -log( exp(s psi(c_y)) / ( exp(s psi(c_y)) + sum over the sampled j != y of exp(s c_j) ) )

c_j cosine between embedding and class vector j, both normalized; s scale; m margin; y [B] label. In each training step
rate * K of the K classes take part, those of the batch always; in evaluation all do. ``margin`` "cosface" is psi(c) = c
- m, "arcface" psi = cos(theta + m) with m in radians and the rule "subtract" beyond pi. At ``rate`` 1 it is that loss.

Paper: An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition CNNs by Partial
FC", CVPR 2022; rates of 0.1 to 0.3, the margin of CosFace 0.4 in its released settings.
Family: class vectors.
Batches: shuffled.
Deviations: at least one class that is not in the batch, or a second one, takes part. The statistics of a training step
are over the classes that take part.
Checked: formula read in its released code (deepinsight/insightface); value and gradient against loops in its test.
"""

from typing import Literal

from faceloss.losses import arcface, cosface
from faceloss.losses.class_vectors import Sampled
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.4,
    rate: float = 0.1,
    margin: Literal["cosface", "arcface"] = "cosface",
) -> Loss:
    """``s``: above 0. ``m``: margin, in [0, 2]. ``rate``: share of the classes, in (0, 1]. ``margin``: see above."""
    Number(rate, above=0, high=1).check("rate")
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=cosface.psi if margin == "cosface" else arcface.subtract,
        vectors=Sampled(rate),
        hyperparameters={"m": Number(m, low=0, high=2)},
    )
