"""Random-Softmax: the target's probability is lowered by one number a, drawn anew in each epoch.

    loss = mean of -log(h p),  h = 1 / (a p + 1 - a),  p = exp(s c_y) / sum_j exp(s c_j)
         = mean of -log( exp(s c_y - ln(1 - a)) / ( exp(s c_y - ln(1 - a)) + sum_{j != y} exp(s c_j) ) )

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale; a <= 0 modulating factor; y [B] label.
With one a at a time this is CosFace with m = ln(1 - a) / s, in value and gradient. Here is the loss at a given ``a``;
while it trains, u = ln(1 - a) is drawn uniformly between ``low`` and ``high`` nats at the start of each epoch.
The gradient of a sample is that of softmax times w = (1 - a) / (a p + 1 - a), between 1 and 1 - a: a margin also makes
steps longer. With ``gradient`` "normalized" value and gradient are divided by the mean of w over the batch.

Paper: Wang et al., "Loss Function Search for Face Recognition", ICML 2020, eq. 7; s from the released code, the default
a from the paper's table of fixed a (the best row).
Family: search.
Batches: shuffled.
Deviations: the paper does not say how a is drawn; the default range is that of its table of fixed a, 0 to -10^4.
Computed as a shift of the logit; the released code forms p, which underflows at s = 64 in float32.
Checked: formula read in its released code (tiandunx/loss_function_search); value and gradient against loops in its
test.
"""

from typing import Literal

import torch
from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.search.guided import margin
from faceloss.search.policy import Policy, Random


def lowered(cos: Tensor, a: Tensor, s: Tensor) -> Tensor:
    """c - ln(1 - a) / s: the logit s c loses ln(1 - a) nats, [B] -> [B]."""
    return cos - torch.log1p(-a) / s


def normalized(log_p: Tensor, a: Tensor) -> Tensor:
    """log(h p), [B], over the mean of w, which is 1 - a h p."""
    return log_p / (1 - a * log_p.detach().exp()).mean()


def policy(seed: int, *, low: float, high: float) -> Policy:
    """A new a in each epoch, uniform in u = ln(1 - a) between ``low`` and ``high`` nats."""
    return Random(margin, low=low, high=high, seed=seed)


def build(
    dim: int,
    classes: int,
    *,
    s: float = 32.0,
    a: float = -10000.0,
    low: float = 0.0,
    high: float = 9.21,
    gradient: Literal["exact", "normalized"] = "exact",
) -> Loss:
    """``s``: scale, above 0. ``a``: modulating factor, at most 0; 0 is no margin.

    ``low``, ``high``: what ln(1 - a) is drawn between while training, in nats, at least 0.
    """
    Number(low, low=0, high=high).check("low")
    scale = Number(s, above=0)
    tau = normalized if gradient == "normalized" else None
    return ClassHead(dim, classes, scale=scale, psi=lowered, tau=tau, hyperparameters={"a": Number(a, high=0)})
