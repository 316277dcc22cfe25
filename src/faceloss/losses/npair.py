"""N-pair loss: one pair of each identity; each anchor picks its own positive among those of all.

    loss = mean over i of log( 1 + sum_{j != i} exp(f_i.g_j - f_i.g_i) )  +  l2 * mean of ||f||^2

f_i [N,D] the anchors, g_i [N,D] their positives, N identities of the batch with two faces or more, l2 weight of the
squared norms of the 2N embeddings. The same as cross entropy of the matrix f g' with its diagonal as targets.
Embeddings are taken as they come, not normalized: their norm is the scale, and l2 holds it.

Paper: Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NIPS 2016.
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: batches may hold more than two faces of an identity, of which two are drawn, so that no anchor has a false
negative. l2 .002 is from memory, and so is what it multiplies. pytorch-metric-learning normalizes the embeddings unless
told otherwise and has no penalty of its own.
Checked: formula read in public code (Confusezius/Deep-Metric-Learning-Baselines); value and gradient against loops in
its test; value and gradient against pytorch-metric-learning 2.9.
"""

import torch
from torch import Tensor

from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.mining import one_pair_each
from faceloss.losses.operations import cross_entropy
from faceloss.losses.tuples import describe


class NPair(Loss):
    """Own class: its tuples are whole rows of the similarity matrix, no pairs or triplets.

    Statistics: those of :class:`faceloss.losses.tuples.TupleHead`, with minus the inner product as distance; "active"
    is the share of anchors that do not pick their own positive.
    """

    def __init__(self, dim: int, classes: int, *, l2: float):
        super().__init__(dim, classes, batches="identity-balanced", hyperparameters={"l2": Number(l2, low=0)})

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        distances = -embeddings.detach() @ embeddings.detach().T  # [B,B]
        anchor, positive, _ = one_pair_each(distances, labels, self.generator("mining"))
        used = embeddings[torch.cat([anchor, positive])]  # [2N,D]
        loss = self.hyperparameters()["l2"] * used.square().sum() / max(len(used), 1)
        wrong = torch.zeros_like(anchor, dtype=torch.bool)
        if len(anchor) > 1:  # a pair alone has nothing to be told from
            scores = embeddings[anchor] @ embeddings[positive].T  # [N,N]
            others = scores.masked_fill(torch.eye(len(anchor), dtype=torch.bool, device=scores.device), -torch.inf)
            loss = loss + cross_entropy(scores.diagonal(), others.logsumexp(1)).mean()
            wrong = scores.diagonal() <= others.amax(1)
        return LossOutput(loss, {"active": wrong.double().mean(), **describe(distances, embeddings, labels)})


def build(dim: int, classes: int, *, l2: float = 0.002) -> Loss:
    """``l2``: weight of the squared norm, at least 0."""
    return NPair(dim, classes, l2=l2)
