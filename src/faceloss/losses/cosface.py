"""CosFace (AM-Softmax): a constant is taken from the target cosine.

    loss = mean of -log( exp(s (c_y - m)) / ( exp(s (c_y - m)) + sum_{j != y} exp(s c_j) ) )

c_j [B,K] cosine between embedding and class vector j, both normalized; s scale; m margin, a difference of cosines;
y [B] label. The margin takes the same s*m nats from the target at every angle.

Paper: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, eq. 4; the same as Wang et
al., "Additive Margin Softmax for Face Verification", 2018, whose defaults are s = 30, m = 0.35.
Family: margin.
Batches: shuffled.
Deviations: none.
Checked: formula read in its released code (happynear/AMSoftmax); value and gradient against loops in its test; value
and gradient against pytorch-metric-learning 2.9.
"""

from torch import Tensor

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def psi(cos: Tensor, m: Tensor) -> Tensor:
    """c - m, [B] -> [B]."""
    return cos - m


def build(dim: int, classes: int, *, s: float = 64.0, m: float = 0.35) -> Loss:
    """``s``: scale, above 0. ``m``: margin on the cosine, in [0, 2]."""
    return ClassHead(dim, classes, scale=Number(s, above=0), psi=psi, hyperparameters={"m": Number(m, low=0, high=2)})
