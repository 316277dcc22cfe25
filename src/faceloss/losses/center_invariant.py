"""Center-invariant loss: center loss, and all centers keep the same distance from the origin.

    loss = softmax + lam * mean of ||x - c_y||^2 / 2 + gamma * mean of (||c_y||^2 - M)^2 / 4
    M = mean over the centers seen so far of ||c_k||^2

x [B,D] embedding as it comes, c_k [K,D] centers, y [B] label, means over the batch. lam weighs the pull to the centers,
alpha is the rate of the centers, as in the loss "center". The last term knows the centers only; it moves them, after
each training step and besides the center loss's own update, down its slope (||c_j||^2 - M) c_j:

    c_j <- c_j - alpha gamma n_j / (1 + n_j) * (||c_j||^2 - M) c_j,   never beyond the norm sqrt(M)

n_j number of samples of identity j in the batch. No default for gamma is known.

Paper: Wu et al., "Deep Face Recognition with Center Invariant Loss", ACM Multimedia Thematic Workshops 2017.
Family: centers.
Batches: shuffled.
Deviations: the square, which a public lecture on the loss lacks: without it the term is 0 on average over balanced
identities. Our reading, as the paper was not at hand: M is constant in the slope, gamma scales the step and lam does
not, a step stops at the mean norm (the slope is cubic and would overshoot), and centers still at 0, never seen, are
left out of M. lam and alpha are those of "center"; gamma must be given.
Start with: gamma = 0.01; nothing is published, a guess.
Checked: formula from a public summary and read in public code (KevinMusgrave/pytorch-metric-learning), in part our
reading; value and gradient against loops in its test; value of the norms' term against pytorch-metric-learning 2.9.
"""

import torch
from torch import Tensor

from faceloss.losses.center import CenterPull
from faceloss.losses.core import Loss, LossOutput, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.sums import SumLoss, Term


class InvariantCenters(Loss):
    """The two terms of the centers, lam and gamma included. Own class: the norms' term moves the centers of the pull.

    Statistics: "pull" and "invariance", the two terms without their weights.
    """

    def __init__(self, dim: int, classes: int, *, lam: float, gamma: float, alpha: float):
        numbers = {"lam": Number(lam, low=0), "gamma": Number(gamma, low=0)}
        super().__init__(dim, classes, batches="shuffled", hyperparameters=numbers)
        self.pull = CenterPull(dim, classes, alpha=alpha)

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        numbers = self.hyperparameters()
        present = torch.unique(labels)
        norms = torch.linalg.vector_norm(self.pull.centers.double(), dim=1)  # [K]
        mean = norms.square().sum() / (norms > 0).sum().clamp_min(1)
        beyond = norms.square() - mean  # [K]
        invariance = beyond[labels].square().mean() / 4
        # What the norms' term takes off the centers, before the pull changes them.
        count = torch.bincount(labels, minlength=self.classes)[present]
        rate = numbers["alpha"] * numbers["gamma"] * count / (1 + count)
        taken = rate * beyond[present]
        # 1 - sqrt(M)/||c||: negative where the center is too short, and then ``taken`` is, too.
        whole = 1 - mean.sqrt() / norms[present].clamp_min(torch.finfo(torch.float32).tiny)
        taken = torch.where(whole > 0, taken.minimum(whole), taken.maximum(whole))
        step = taken.unsqueeze(1) * self.pull.centers[present]  # [P,D]

        pull = self.pull(embeddings, labels).loss
        if self.training:
            self.pull.centers.index_add_(0, present, -step.to(self.pull.centers.dtype))
        loss = numbers["lam"] * pull + numbers["gamma"] * invariance
        return LossOutput(loss, {"pull": pull.detach(), "invariance": invariance})


def build(dim: int, classes: int, *, gamma: float, lam: float = 0.003, alpha: float = 0.5) -> Loss:
    """``gamma``, ``lam``: weights of the norms' and of the pull's term, at least 0. ``alpha``: rate, in [0, 1]."""
    terms = {
        "softmax": Term(ClassHead(dim, classes, scale="norm", unit_classes=False, bias=True)),
        "centers": Term(InvariantCenters(dim, classes, lam=lam, gamma=gamma, alpha=alpha)),
    }
    return SumLoss(dim, classes, terms=terms, hyperparameters={})
