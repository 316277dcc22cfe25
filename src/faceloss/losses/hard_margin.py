"""Hard-margin loss: the margin loss, through a logarithm.

    loss = sum over pairs of log(1 + h) / number of terms above 0  +  nu * beta
    h = max(0, alpha + D - beta) of one identity, max(0, alpha - D + beta) of two

D = Euclidean distance of the normalized embeddings, alpha margin; pairs, beta, ``beta_mode`` and nu as in the loss
"margin". log(1 + h) <= h, with the slope 1 / (1 + h) of it: large violations count for less, which makes the loss
robust and not, as its name says, hard. ``form`` "squared" is what the public code of the same project computes, h^2.

Paper: a student's comparison of losses on face embeddings, without title or year in our source; the pairs are those of
Wu et al., "Sampling Matters in Deep Embedding Learning", ICCV 2017.
Family: pairs and triplets.
Batches: identity-balanced.
Deviations: its code adds the squared form to a softmax on the same embeddings, which is left to a sum of losses; the
report and the code differ, hence ``form``. Otherwise as in the loss "margin".
Checked: formula from a public summary; value and gradient against loops in its test.
"""

from typing import Literal

from torch import Tensor

from faceloss.losses.core import Loss
from faceloss.losses.margin import head, hinge


def logarithm(distance: Tensor, same: Tensor, label: Tensor, *, alpha: Tensor, beta: Tensor) -> Tensor:
    """log(1 + h), [P] -> [P]."""
    return hinge(distance, same, label, alpha=alpha, beta=beta).log1p()


def square(distance: Tensor, same: Tensor, label: Tensor, *, alpha: Tensor, beta: Tensor) -> Tensor:
    """h^2, [P] -> [P]."""
    return hinge(distance, same, label, alpha=alpha, beta=beta).square()


def build(
    dim: int,
    classes: int,
    *,
    alpha: float = 0.2,
    beta: float = 1.2,
    beta_mode: Literal["fixed", "learned", "per class"] = "fixed",
    nu: float = 0.0,
    form: Literal["log", "squared"] = "log",
) -> Loss:
    """``alpha``: margin, in [0, 2]. ``beta``: boundary (at the start), in (0, 2]. ``nu``: pull on a learned beta.

    ``form``: log(1 + h) or h^2.
    """
    cost = logarithm if form == "log" else square
    return head(dim, classes, cost, alpha=alpha, beta=beta, beta_mode=beta_mode, nu=nu)
