"""Search-Softmax: the target's probability is lowered by one number a, which is searched for while training.

    loss = mean of -log(h p),  h = 1 / (a p + 1 - a),  p = exp(s c_y) / sum_j exp(s c_j)

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale; a <= 0 modulating factor; y [B] label.
With one a at a time this is CosFace with m = ln(1 - a) / s, in value and gradient. Here is the loss at a given ``a``;
while it trains, ``candidates`` models are trained in each epoch from the same weights, each with its own a, and the one
with the highest ``reward`` on the validation identities goes on. ``method`` says where the candidates are from:

    "guided"     u = ln(1 - a) is drawn from a Gaussian whose mean follows the rewards, from that of ``a`` on
    "published"  as the released code does it: the mean never moves (``deviation`` and ``rate`` are that code's)
    "same"       all have ``a``, each on batches of its own: what choosing the best of several is worth by itself
    "replay"     the schedule that "guided" found under another seed, from scratch and without a search

``trial`` "full" trains each for the whole epoch; "halving" drops the worse half after a part of it, twice and more.

Paper: Wang et al., "Loss Function Search for Face Recognition", ICML 2020, eq. 7; s and the default a = -exp(32/3),
which is m = 1/3, from the first epochs of the released code.
Family: search.
Batches: shuffled.
Deviations: the search is in u, not in a, and over validation identities; the released code rewards by the LFW test.
Computed as a shift of the logit; the released code forms p, which underflows at s = 64 in float32.
Checked: formula read in its released code (tiandunx/loss_function_search); value and gradient against loops in its
test.
"""

from typing import Literal

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.random_softmax import lowered
from faceloss.search.guided import AsPublished, Guided, nats
from faceloss.search.policy import FULL, Policy, halving


def policy(
    seed: int,
    *,
    s: float,
    a: float,
    method: str,
    candidates: int,
    deviation: float,
    rate: float,
    trial: str,
    reward: str,
) -> Policy:
    """The search that the file's text describes."""
    rungs = halving(candidates) if trial == "halving" else FULL
    if method == "published":
        return AsPublished(s=s, candidates=candidates, seed=seed, rungs=rungs, reward=reward)
    return Guided(
        [nats(a)],
        deviation=deviation,
        candidates=candidates,
        rate=rate,
        seed=seed,
        rungs=rungs,
        reward=reward,
        same=method == "same",
    )


def build(
    dim: int,
    classes: int,
    *,
    s: float = 32.0,
    a: float = -42901.0,
    method: Literal["guided", "published", "same", "replay"] = "guided",
    candidates: int = 4,
    deviation: float = 1.0,
    rate: float = 0.25,
    trial: Literal["full", "halving"] = "full",
    reward: Literal["similarity", "tar", "auc", "accuracy"] = "similarity",
) -> Loss:
    """``s``: scale, above 0. ``a``: modulating factor, at most 0; 0 is no margin.

    ``candidates``: at least 2. ``deviation``: of u, in nats, above 0. ``rate``: of its mean's steps, in nats, above 0.
    ``reward``: see :mod:`faceloss.compare.reward`.
    """
    policy(
        0, s=s, a=a, method=method, candidates=candidates, deviation=deviation, rate=rate, trial=trial, reward=reward
    )
    scale = Number(s, above=0)
    return ClassHead(dim, classes, scale=scale, psi=lowered, hyperparameters={"a": Number(a, high=0)})
