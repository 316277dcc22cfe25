"""VPL (variational prototype learning): ArcFace whose class vectors are mixed with embeddings seen lately.

    loss = mean of -log( exp(s cos(theta_y + m)) / ( exp(s cos(theta_y + m)) + sum_{j != y} exp(s cos theta_j) ) )
    theta_j = angle between x and (1 - lam_j) w'_j + lam_j f_j

w'_j [K,D] unit class vectors, f_j [K,D] the unit embedding of identity j seen last, without gradient; lam_j = lam where
it is at most ``age`` training steps old and more than ``start`` steps are done, 0 elsewhere; s scale; m margin in
radians, with the rule "subtract" of ArcFace beyond pi; y [B] label. ``warmup`` is the share of the training over which
m rises, for the reason given in ArcFace; 0 is the published setting. Evaluation moves nothing.

Paper: Deng et al., "Variational Prototype Learning for Deep Face Recognition", CVPR 2021, and its released code (lam,
start and age).
Family: class vectors.
Batches: shuffled.
Course: m rises from 0 to its value in a straight line over the first half (``warmup``) of the training.
Deviations: ``warmup`` is ours. Of several images of an identity in one batch, their mean direction is kept, not the
last one, so that the order of a batch does not matter. An identity not seen yet is not mixed. ``start`` counts steps of
the released training, 8,000 of 126,450, or 6 %. A training of no more than ``start`` steps never mixes and is ArcFace:
``faceloss compare`` says so and which ``start`` is the same share of its steps.
Checked: formula read in its released code (deepinsight/insightface); value and gradient against loops in its test.
"""

import math

from faceloss.losses.arcface import course as course
from faceloss.losses.arcface import subtract
from faceloss.losses.class_vectors import Mixed
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.5,
    lam: float = 0.15,
    start: int = 8000,
    age: int = 200,
    warmup: float = 0.5,
) -> Loss:
    """``s``: above 0. ``m``: radians, in [0, pi]. ``lam``: in [0, 1]. ``start``, ``age``: steps, at least 0.

    ``warmup``: in [0, 1].
    """
    Number(warmup, low=0, high=1).check("warmup")
    Number(start, low=0).check("start")
    Number(age, low=0).check("age")
    return ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=subtract,
        vectors=Mixed(dim, classes, start=start, age=age),
        hyperparameters={"m": Number(m, low=0, high=math.pi), "lam": Number(lam, low=0, high=1)},
    )
