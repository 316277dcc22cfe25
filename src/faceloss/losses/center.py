"""Center loss: softmax, and each embedding is pulled to the center of its identity.

    loss = softmax + lam * mean over the batch of ||x - c_y||^2 / 2
    c_j <- c_j - alpha * sum_{i: y_i = j} (c_j - x_i) / (1 + n_j)         after each training step

x [B,D] embedding as it comes, c_j [K,D] centers, n_j number of samples of identity j in the batch, y [B] label, lam the
weight lambda, alpha the rate of the centers. The centers are no parameters: no optimizer moves them, lam does not
scale their step, and evaluation does not move them.

Paper: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, eq. 5 and eq. 4.
Family: centers.
Batches: shuffled.
Deviations: mean over the batch where eq. 5 sums, as the released code does; centers start at 0, so an identity that was
not seen yet pulls towards 0.
Checked: formula read in its released code (ydwen/caffe-face); value and gradient against loops in its test.
"""

import torch
from torch import Tensor

from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.sums import SumLoss, Term


class CenterPull(Loss):
    """mean ||x - c_y||^2 / 2 with the paper's update of the centers, in training mode only."""

    centers: Tensor  # [K,D]

    def __init__(self, dim: int, classes: int, *, alpha: float):
        super().__init__(dim, classes, batches="shuffled", hyperparameters={"alpha": Number(alpha, low=0, high=1)})
        self.register_buffer("centers", torch.zeros(classes, dim))

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        away = embeddings - self.centers[labels]  # [B,D]
        if self.training:
            self._update(away.detach(), labels)
        return LossOutput(away.square().sum(1).mean() / 2, {})

    def _update(self, away: Tensor, labels: Tensor) -> None:
        count = torch.bincount(labels, minlength=self.classes)[labels].unsqueeze(1)  # [B,1]
        step = self.hyperparameters()["alpha"] * away / (1 + count)  # [B,D]
        self.centers.index_add_(0, labels, step.to(self.centers.dtype))


def build(dim: int, classes: int, *, lam: float = 0.003, alpha: float = 0.5) -> Loss:
    """``lam``: weight of the center term, at least 0. ``alpha``: rate of the centers, in [0, 1]."""
    terms = {
        "softmax": Term(ClassHead(dim, classes, scale="norm", unit_classes=False, bias=True)),
        "center": Term(CenterPull(dim, classes, alpha=alpha), weight="lam"),
    }
    return SumLoss(dim, classes, terms=terms, hyperparameters={"lam": Number(lam, low=0)})
