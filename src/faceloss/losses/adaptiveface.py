"""AdaptiveFace (AdaM-Softmax): CosFace with a learnt margin for each identity, and a pull towards large margins.

    loss = mean of -log( exp(s (c_y - m_y)) / ( exp(s (c_y - m_y)) + sum_{j != y} exp(s c_j) ) )
           + lam * (1 - mean over the identities of m_k)

c_j [B,K] cosine between embedding and class vector j, both normalized; m_k [K] in (0, 1), learnt; s scale; lam weight
of the pull; y [B] label.

Paper: Liu et al., "AdaptiveFace: Adaptive Margin and Sampling for Face Recognition", CVPR 2019; defaults of the public
implementation in FaceX-Zoo.
Family: adaptive margin.
Batches: shuffled.
Deviations: m_k = sigmoid(v_k) with v_k learnt, where that implementation clamps m_k to [0, 1]; all start at 0.35, there
at random in 0.3 .. 0.4. 1 is added to the paper's -mean, which changes no gradient and keeps the loss positive. The
paper's adaptive sampling is not part of the loss.
Checked: formula read in public code (JDAI-CV/FaceX-Zoo); value and gradient against loops in its test.
"""

import torch
from torch import Tensor, nn

from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.sums import SumLoss, Term

START = 0.35


class Margins(nn.Module):
    """c - m_y, [B] -> [B], with a learnt m for each identity."""

    def __init__(self, classes: int):
        super().__init__()
        self.raw = nn.Parameter(torch.full((classes,), START).logit())  # [K]

    def values(self) -> Tensor:
        """m [K] in (0, 1)."""
        return self.raw.sigmoid()

    def forward(self, cos: Tensor, labels: Tensor) -> Tensor:
        return cos - self.values()[labels].to(cos.dtype)


class MarginPull(Loss):
    """1 - mean m; it looks at the margins of the head and at no embedding."""

    def __init__(self, dim: int, classes: int, margins: Margins):
        super().__init__(dim, classes, batches="shuffled", hyperparameters={})
        self._margins = (margins,)  # in a tuple: they are parameters of the head, not once more of this

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        mean = self._margins[0].values().mean()
        return LossOutput(1 - mean, {"mean": mean.detach()})


def build(dim: int, classes: int, *, s: float = 30.0, lam: float = 70.0) -> Loss:
    """``s``: scale, above 0. ``lam``: weight of the pull towards large margins, at least 0."""
    margins = Margins(classes)
    terms = {
        "adaptive": Term(ClassHead(dim, classes, scale=Number(s, above=0), psi=margins)),
        "margin": Term(MarginPull(dim, classes, margins), weight="lam"),
    }
    return SumLoss(dim, classes, terms=terms, hyperparameters={"lam": Number(lam, low=0)})
