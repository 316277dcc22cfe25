"""UniTSFace: CosFace, and one threshold for all similarities between samples (USS).

    loss = CosFace + mean of  softplus(-(s (g_y - m_uss) + b)) + sum_{j != y} softplus(s g_j + b)

g_j [B,K] cosine between the embedding and the last one seen of identity j, which is kept without gradient; s scale of
both terms; m_uss margin of the second; m margin of CosFace; b one bias, whose negative is the threshold: it starts at
minus the mean over the first batch of ln sum_{j != y} exp(s g_j) and is learnt from there; y [B] label. ``classifier``
"none" leaves CosFace out: the second term alone is USS, which has no class vectors to learn, and m then does nothing.
Evaluation moves nothing.

Paper: Jia et al., "UniTSFace: Unified Threshold Integrated Sample-to-Sample Loss for Face Recognition", NeurIPS 2023;
margins and scale from its released code.
Family: binary.
Batches: shuffled.
Deviations: the release clamps logits to [-s, s], beyond which there is no gradient; in log space they need no clamp.
The memory starts with random directions; of several images of an identity in one batch, their mean direction is kept.
The second term fits no softmax head, because classes do not compete: see BinaryHead.
Checked: formula read in its released code (CVI-SZU/UniTSFace); value and gradient against loops in its test.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses import cosface
from faceloss.losses.binary import BinaryHead, Numbers
from faceloss.losses.class_vectors import ClassVectors, centroids
from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import normalize
from faceloss.losses.sums import SumLoss, Term


class Memory(nn.Module):
    """The direction of each identity's last embedding, as class vectors; training moves it after use."""

    rows: Tensor  # [K,D]

    def __init__(self, dim: int, classes: int):
        super().__init__()
        self.register_buffer("rows", normalize(torch.randn(classes, dim)))

    def forward(self, embeddings: Tensor, labels: Tensor) -> ClassVectors:
        rows = self.rows.to(embeddings.dtype).clone()  # what autograd keeps must not move with the next batch
        if self.training:
            mean = centroids(normalize(embeddings.detach()), labels).rows
            self.rows[torch.unique(labels)] = normalize(mean).to(self.rows.dtype)
        return ClassVectors(rows, labels)


class Start(nn.Module):
    """Minus the mean of log sum exp over the other classes of the first training batch; 0 before."""

    value: Tensor  # 0-d
    known: Tensor  # 0-d bool

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()))
        self.register_buffer("known", torch.tensor(False))

    def forward(self, others: Callable[[], Tensor]) -> Tensor:
        if self.training and not self.known:
            self.value.copy_(-others().mean())
            self.known.fill_(True)
        return self.value.clone()


def yes(cos: Tensor, numbers: Numbers) -> Tensor:
    """g - m_uss."""
    return cos - numbers["m_uss"]


def no(cos: Tensor, numbers: Numbers) -> Tensor:
    """g."""
    return cos


def build(
    dim: int,
    classes: int,
    *,
    s: float = 64.0,
    m: float = 0.4,
    m_uss: float = 0.1,
    classifier: Literal["cosface", "none"] = "cosface",
) -> Loss:
    """``s``: scale, above 0. ``m``, ``m_uss``: margins on the cosine, in [0, 2]. ``classifier``: see above."""
    head = ClassHead(
        dim,
        classes,
        scale=Number(s, above=0),
        psi=cosface.psi,
        hyperparameters={"m": Number(m, low=0, high=2)},
    )
    samples = BinaryHead(
        dim,
        classes,
        scale=Number(s, above=0),
        scale_name="s_uss",
        psi=yes,
        phi=no,
        bias=0.0,
        vectors=Memory(dim, classes),
        rows=0,
        shift=Start(),
        hyperparameters={"m_uss": Number(m_uss, low=0, high=2)},
    )
    terms = {"cosface": Term(head), "uss": Term(samples)} if classifier == "cosface" else {"uss": Term(samples)}
    return SumLoss(dim, classes, terms=terms, hyperparameters={})
