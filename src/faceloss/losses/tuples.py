"""Every tuple loss is this head: measure matrix -> miner -> term of each tuple -> one named reduction."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses.core import Batches, Loss, LossOutput, Number
from faceloss.losses.mining import Miner, Triplets, negatives, positives
from faceloss.losses.operations import angle, normalize

Reduction = Literal["mean", "active"]


def reduce(values: Tensor, how: Reduction) -> Tensor:
    """The sum of ``values`` [T] divided by T ("mean") or by how many are above 0 ("active"); no values: 0.

    >>> float(reduce(torch.tensor([0.0, 1.0, 2.0]), "active"))
    1.5
    """
    count = values.numel() if how == "mean" else int((values > 0).sum())
    return values.sum() / max(count, 1)


class TupleHead(Loss):
    """The mean over mined tuples of a term of their distances.

    Args:
        measure: embeddings [B,D] -> distances [B,B], smaller = more alike; it normalizes, if anything does.
        miner: picks the tuples from the detached distances; see :mod:`faceloss.losses.mining`.
        term: the value of each tuple. For triplets ``term(positive [T], negative [T], **hyperparameters)`` gets the
            distances of the anchor to the two; for pairs ``term(distance [P], same [P], label [P], **hyperparameters)``
            also gets the label of the first. May be a module with parameters of its own.
        reduction: by what the sum of the terms is divided, see :func:`reduce`.
        project: a trained map of the embeddings that comes first, [B,D] -> [B,D'], and of which the results are what
            is compared at test time (:meth:`Loss.embed`); none by default.
        penalty: added to the loss, ``penalty(labels [B], **hyperparameters)``; none by default.
        options: as :meth:`Loss.optimizer_options`, e.g. for a parameter "term.beta".

    A batch in which the miner finds nothing gives 0 with zero gradient.

    Statistics: "accuracy", share of rows whose closest other row has the same label; "target_angle", mean angle
    between rows of one identity (after ``project``), in degrees; "active", share of tuples with a term above 0;
    "positive_distance" and "negative_distance", means over all pairs of the batch; "norm", mean ||x||. A mean over
    nothing is nan.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        measure: Callable[[Tensor], Tensor],
        miner: Miner,
        term: Callable[..., Tensor],
        reduction: Reduction,
        hyperparameters: Mapping[str, Number],
        project: nn.Module | None = None,
        penalty: Callable[..., Tensor] | None = None,
        batches: Batches = "identity-balanced",
        options: Mapping[str, Mapping[str, float]] | None = None,
    ):
        super().__init__(dim, classes, batches=batches, hyperparameters=hyperparameters, options=options)
        self.project = project
        self.measure = measure
        self.miner = miner
        self.term = term
        self.reduction = reduction
        self.penalty = penalty

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        points = embeddings if self.project is None else self.project(embeddings)  # [B,D']
        distances = self.measure(points)  # [B,B]
        tuples = self.miner(distances.detach(), labels, self.generator("mining"))
        hyperparameters = self.hyperparameters()
        if isinstance(tuples, Triplets):
            positive = distances[tuples.anchor, tuples.positive]  # [T]
            negative = distances[tuples.anchor, tuples.negative]  # [T]
            values = self.term(positive, negative, **hyperparameters)
        else:
            distance = distances[tuples.first, tuples.second]  # [P]
            values = self.term(distance, tuples.same, labels[tuples.first], **hyperparameters)
        loss = reduce(values, self.reduction)
        if self.penalty is not None:
            loss = loss + self.penalty(labels, **hyperparameters)
        statistics = {"active": _mean(values.detach() > 0), **describe(distances, points, labels)}
        return LossOutput(loss, statistics | {"norm": _mean(torch.linalg.vector_norm(embeddings.detach(), dim=1))})


@torch.no_grad()
def describe(distances: Tensor, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What the batch looks like, whatever the miner and the margin are: the statistics of :class:`TupleHead`."""
    same, different = positives(labels), negatives(labels)
    closest = distances.detach().clone().fill_diagonal_(torch.inf).argmin(1)
    others = labels.numel() > 1
    directions = normalize(embeddings)
    first, second = same.nonzero(as_tuple=True)
    return {
        "accuracy": _mean((labels[closest] == labels) & others),
        "target_angle": _mean(torch.rad2deg(angle((directions @ directions.T)[first, second]))),
        "positive_distance": _mean(distances[same]),
        "negative_distance": _mean(distances[different]),
        "norm": _mean(torch.linalg.vector_norm(embeddings, dim=1)),
    }


def _mean(values: Tensor) -> Tensor:
    return values.double().mean()
