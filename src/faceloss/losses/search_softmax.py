"""Search-Softmax: the target's probability is lowered by one number a, which is searched for while training.

    loss = mean of -log(h p),  h = 1 / (a p + 1 - a),  p = exp(s c_y) / sum_j exp(s c_j)

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale; a <= 0 modulating factor; y [B] label.
With one a at a time this is CosFace with m = ln(1 - a) / s, in value and gradient. Here is the loss at a given ``a``;
the search (several models an epoch, each with its own a; the best goes on) is the training's.

Paper: Wang et al., "Loss Function Search for Face Recognition", ICML 2020, eq. 7; s and the default a = -exp(32/3),
which is m = 1/3, from the first epochs of the released code.
Family: search.
Batches: shuffled.
Deviations: computed as a shift of the logit; the released code forms p, which underflows at s = 64 in float32.
Checked: formula read in its released code (tiandunx/loss_function_search); value and gradient against loops in its
test.
"""

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.random_softmax import lowered


def build(dim: int, classes: int, *, s: float = 32.0, a: float = -42901.0) -> Loss:
    """``s``: scale, above 0. ``a``: modulating factor, at most 0; 0 is no margin."""
    scale = Number(s, above=0)
    return ClassHead(dim, classes, scale=scale, psi=lowered, hyperparameters={"a": Number(a, high=0)})
