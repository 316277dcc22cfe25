"""Softmax: the plain linear classifier with cross entropy, the baseline of every comparison.

    loss = mean of -log( exp(w_y.x + b_y) / sum_j exp(w_j.x + b_j) )

x [B,D] embedding as it comes, w_j [K,D] class vectors, b [K] bias, y [B] label. In the form of the head: rho = ||x||,
omega_j = ||w_j||, psi = cos.

Paper: Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", CVPR 2014.
Family: softmax.
Batches: shuffled.
Deviations: none.
Checked: textbook formula; value and gradient against loops in its test.
"""

from faceloss.losses.core import Loss
from faceloss.losses.heads import ClassHead


def build(dim: int, classes: int) -> Loss:
    """Softmax cross entropy; it has no hyperparameters."""
    return ClassHead(dim, classes, scale="norm", unit_classes=False, bias=True)
