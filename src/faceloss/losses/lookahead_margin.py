"""Look-ahead margin: the combined margin and its scale, searched for while training at little more than one training.

    loss = mean of -log( exp(s psi(theta_y)) / ( exp(s psi(theta_y)) + sum_{j != y} exp(s cos theta_j) ) )
    psi(theta) = cos(m1 theta + m2) - m3, continued beyond pi so that it falls at every angle

theta_j [B,K] angle between embedding and class vector j, both normalized; s scale; m1 factor, m2 angle in radians, m3
difference of cosines; y [B] label. (1, m, 0) is ArcFace, (1, 0, m) CosFace. Here is the loss at given numbers. While it
trains, ``candidates`` of the four numbers are drawn in each epoch around their mean, a standard ``deviation`` away in
units of 0.1 of m1, m2 and ln s and 0.05 of m3. All are scored to first order on ``scored`` training steps by what a
step with each would do to the validation identities, and two, the mean and the best of the others, are trained for a
share ``tried`` of the epoch. The one with the higher ``reward`` goes on, and where it is not the mean, the mean goes a
share ``rate`` of the way to it. ``method`` "random" tries the first candidate that was drawn in place of the best one,
"replay" trains from scratch with the schedule that was found under another seed.

Paper: none, this is ours; for the combined margin, Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face
Recognition", CVPR 2019.
Family: search.
Batches: shuffled.
Deviations: none known.
Checked: formula read in public code (deepinsight/insightface, the combined margin); value and gradient against loops
in its test.
"""

import math
from collections.abc import Sequence
from typing import Literal

from faceloss.losses.combined import continuous
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.search.lookahead import LookAhead
from faceloss.search.policy import Policy, Values

UNITS = {"m1": 0.1, "m2": 0.1, "m3": 0.05, "s": 0.1}  # a difference worth trying; of s, of its logarithm
LIMITS = {"m1": (1.0, 2.0), "m2": (0.0, 1.5), "m3": (0.0, 1.0), "s": (4.0, 256.0)}


def values(draw: Sequence[float]) -> Values:
    """The hyperparameters at four coordinates in :data:`UNITS`, within :data:`LIMITS`.

    >>> values([10.0, 2.0, -1.0, 30.0])
    {'m1': 1.0, 'm2': 0.2, 'm3': 0.0, 's': 20.085536923187668}
    """
    raw = {name: x * unit for x, (name, unit) in zip(draw, UNITS.items(), strict=True)}
    raw["s"] = math.exp(min(raw["s"], 10.0))
    return {name: min(max(x, LIMITS[name][0]), LIMITS[name][1]) for name, x in raw.items()}


def policy(
    seed: int,
    *,
    s: float,
    m1: float,
    m2: float,
    m3: float,
    method: str,
    candidates: int,
    deviation: float,
    rate: float,
    tried: float,
    scored: int,
    reward: str,
) -> Policy:
    """The search that the file's text describes."""
    where = {"m1": m1, "m2": m2, "m3": m3, "s": math.log(s)}
    return LookAhead(
        [where[name] / unit for name, unit in UNITS.items()],
        values,
        deviation=deviation,
        candidates=candidates,
        rate=rate,
        tried=tried,
        scored=0 if method == "random" else scored,
        seed=seed,
        reward=reward,
    )


def build(
    dim: int,
    classes: int,
    *,
    s: float = 32.0,
    m1: float = 1.0,
    m2: float = 0.0,
    m3: float = 0.2,
    method: Literal["lookahead", "random", "replay"] = "lookahead",
    candidates: int = 8,
    deviation: float = 1.5,
    rate: float = 0.5,
    tried: float = 0.15,
    scored: int = 2,
    reward: Literal["similarity", "tar", "auc", "accuracy"] = "similarity",
) -> Loss:
    """``s``, ``m1``, ``m2`` (radians), ``m3``: where the search starts; above 0, above 0, in [0, pi], in [0, 2].

    ``candidates``: at least 2. ``deviation``: of the candidates, in units of 0.1 of m1, m2 and ln s and 0.05 of m3,
    above 0. ``rate``: share of the way to a better candidate that the mean goes, in (0, 1]. ``tried``: in (0, 1].
    ``scored``: at least 0. ``reward``: see :mod:`faceloss.compare.reward`.
    """
    limits = {
        "m1": Number(m1, above=0),
        "m2": Number(m2, low=0, high=math.pi),
        "m3": Number(m3, low=0, high=2),
    }
    for name, number in {**limits, "s": Number(s, above=0)}.items():
        number.check(name)
    policy(
        0, s=s, m1=m1, m2=m2, m3=m3, method=method, candidates=candidates, deviation=deviation, rate=rate, tried=tried,
        scored=scored, reward=reward,
    )  # fmt: skip
    return ClassHead(dim, classes, scale=Number(s, above=0), psi=continuous, hyperparameters=limits)
