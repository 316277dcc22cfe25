"""Range loss: softmax; the widest faces of each identity close up, and the two nearest identities part.

    loss  = softmax + alpha * intra + beta * inter
    intra = sum over the identities of the batch of k / (1/D_1 + ... + 1/D_k)
    inter = max(0, m - min over pairs of identities of ||c_a - c_b||^2)

D_1 .. D_k the k largest squared distances between faces x [B,D] of one identity, embeddings as they come; c_a mean of
the batch's faces of identity a; alpha, beta weights; m margin, in units of the squared norm.

Paper: Zhang et al., "Range Loss for Deep Face Recognition with Long-Tailed Training Data", ICCV 2017.
Family: centers.
Batches: identity-balanced.
Deviations: an identity of two faces has one distance, which is taken instead of k, and one of one face has none; so has
a batch of one identity no inter term. Equal faces (D = 0) count 0, the limit. k is the paper's 2; alpha, beta and m are
those of a public Caffe version for embeddings of norm about 100. Other versions have .5, .5 and m of .1 to 5, and one
swaps alpha and beta against its own documentation.
Checked: formula read in public code (Charrin/RangeLoss-Caffe); value and gradient against loops in its test.
"""

import torch
from torch import Tensor

from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.mining import positives
from faceloss.losses.pairwise import squared_distances
from faceloss.losses.sums import SumLoss, Term

SMALLEST = 1e-30  # a squared distance below this counts as it; its inverse and that one's fit into float32


def intra(embeddings: Tensor, labels: Tensor, k: int) -> Tensor:
    """Sum over identities of the harmonic mean of the k largest squared distances (of all, if there are fewer)."""
    first, second = positives(labels).triu().nonzero(as_tuple=True)
    distance = squared_distances(embeddings)[first, second]  # [P]
    order = distance.detach().argsort(descending=True)
    order = order[labels[first[order]].argsort(stable=True)]  # by identity, the largest first
    label = labels[first[order]]
    rank = torch.arange(len(label), device=label.device) - torch.searchsorted(label, label)
    order = order[rank < k]
    _, identity, count = torch.unique(labels[first[order]], return_inverse=True, return_counts=True)
    widest = distance[order].clamp_min(SMALLEST)
    # Inverses are taken relative to the smallest, which drops out: 1/D alone would overflow in its square.
    unit = torch.full_like(count, torch.inf, dtype=widest.dtype).scatter_reduce(0, identity, widest.detach(), "amin")
    inverse = torch.zeros_like(unit).index_add(0, identity, unit[identity] / widest)
    means: Tensor = count * unit / inverse
    return means.sum()


def inter(embeddings: Tensor, labels: Tensor, m: Tensor) -> Tensor:
    """max(0, m - the smallest squared distance between the centers of two identities); 0 for one identity."""
    present, identity, count = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = embeddings.new_zeros(len(present), embeddings.shape[1]).index_add(0, identity, embeddings)
    squared = squared_distances(sums / count.unsqueeze(1))
    itself = torch.eye(len(present), dtype=torch.bool, device=labels.device)
    return (m - squared.masked_fill(itself, torch.inf).amin()).clamp_min(0)


class Range(Loss):
    """alpha * intra + beta * inter. Own class: its terms are of whole identities, no pairs or triplets.

    Statistics: "intra" and "inter", the two terms without their weights.
    """

    def __init__(self, dim: int, classes: int, *, alpha: float, beta: float, m: float, k: int):
        numbers = {"alpha": Number(alpha, low=0), "beta": Number(beta, low=0), "m": Number(m, above=0)}
        super().__init__(dim, classes, batches="identity-balanced", hyperparameters=numbers)
        if k < 1:
            raise ValueError(f"k must be at least 1; given {k}.")
        self.k = k

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        numbers = self.hyperparameters()
        within, between = intra(embeddings, labels, self.k), inter(embeddings, labels, numbers["m"])
        loss = numbers["alpha"] * within + numbers["beta"] * between
        return LossOutput(loss, {"intra": within.detach(), "inter": between.detach()})


def build(dim: int, classes: int, *, alpha: float = 1e-4, beta: float = 1e-3, m: float = 2e4, k: int = 2) -> Loss:
    """``alpha``, ``beta``: weights of intra and inter, at least 0. ``m``: margin, above 0. ``k``: distances, from 1."""
    terms = {
        "softmax": Term(ClassHead(dim, classes, scale="norm", unit_classes=False, bias=True)),
        "range": Term(Range(dim, classes, alpha=alpha, beta=beta, m=m, k=k)),
    }
    return SumLoss(dim, classes, terms=terms, hyperparameters={})
