"""Partial FC: a margin softmax over the classes of the batch and a random sample of the others.

    loss = mean of -log( exp(s psi(c_y)) / ( exp(s psi(c_y)) + sum over the sampled j != y of exp(s c_j) ) )

c_j cosine between embedding and class vector j, both normalized; s scale; m margin; y [B] label. In each training step
rate * K of the K classes take part, those of the batch always; in evaluation all do. ``margin`` "cosface" is psi(c) = c
- m, "arcface" psi = cos(theta + m) with m in radians and the rule "subtract" beyond pi. At ``rate`` 1 it is that loss.
Any other loss with learnt class vectors can have them sampled, too: :func:`faceloss.losses.partial_fc.sampled`.

Paper: An et al., "Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition CNNs by Partial
FC", CVPR 2022; rates of 0.1 to 0.3, the margin of CosFace 0.4 in its released settings.
Family: class vectors.
Batches: shuffled.
Deviations: at least one class that is not in the batch, or a second one, takes part. The statistics of a training step
are over the classes that take part.
Checked: formula read in its released code (deepinsight/insightface); value and gradient against loops in its test.
"""

from typing import Literal, TypeVar

from faceloss.losses import arcface, cosface
from faceloss.losses.binary import BinaryHead
from faceloss.losses.class_vectors import Sampled, learnt
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead

L = TypeVar("L", bound=Loss)


def sampled(loss: L, rate: float) -> L:
    """``loss`` itself, of whose class vectors from now on only a share takes part in each training step.

    Its margin stays what it is, in value and gradient, over the classes that take part. The K yes-or-no questions of
    SphereFace2 or UniFace become as many as classes take part, without a weight that would make up for the others.

    Args:
        rate: share of the classes, in (0, 1]; those of the batch take part always.

    Raises:
        ValueError: ``rate`` out of range, or a loss without a plain table of class vectors, one for each class: none at
            all, several for each class, mixed ones, or with biases.

    >>> from faceloss import losses
    >>> loss = sampled(losses.build("magface", dim=512, classes=1000), rate=0.1)
    """
    Number(rate, above=0, high=1).check("rate")
    heads = [part for part in loss.modules() if isinstance(part, ClassHead | BinaryHead) and part.vectors is learnt]
    if not heads or any(isinstance(head, ClassHead) and head.bias is not None for head in heads):
        raise ValueError(
            "Partial FC samples learnt class vectors, one for each class and without a bias; this loss has no such."
        )
    for head in heads:
        head.draw_from(Sampled(rate))
    return loss


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
    Number(m, low=0, high=2).check("m")
    build_margin = cosface.build if margin == "cosface" else arcface.build
    return sampled(build_margin(dim, classes, s=s, m=m), rate)
