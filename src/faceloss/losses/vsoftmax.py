"""V-Softmax (virtual softmax): each sample gets one more wrong class, which points exactly at it.

    loss = mean of -log( exp(w_y.x) / ( sum_j exp(w_j.x) + exp(||w_y|| ||x||) ) )

x [B,D] embedding as it comes, w_j [K,D] class vectors, no bias, y [B] label; ||w_y|| ||x|| is the logit of the virtual
class ||w_y|| x / ||x||. It exists while training only. The loss stays above ln 2, since w_y.x <= ||w_y|| ||x||. There
are no hyperparameters.

Paper: Chen, Deng, Shen, "Virtual Class Enhanced Discriminative Embedding Learning", NeurIPS 2018.
Family: softmax.
Batches: shuffled.
Deviations: none. Public implementations clamp the virtual logit, which ends its gradient; in log space it needs none.
Checked: formula read in public code (sungwool/virtual_softmax); value and gradient against loops in its test.
"""

from torch import Tensor

from faceloss.losses.core import Loss
from faceloss.losses.heads import ClassHead


def virtual(omega: Tensor) -> Tensor:
    """||w_y|| * 1, the virtual class being the direction of the embedding; [B]."""
    return omega


def build(dim: int, classes: int) -> Loss:
    """Softmax with a virtual class; it has no hyperparameters."""
    return ClassHead(dim, classes, scale="norm", unit_classes=False, extra=virtual)
