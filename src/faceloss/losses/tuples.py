"""Every tuple loss is this head: measure matrix -> miner -> term of each tuple -> one named reduction."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from faceloss.losses.core import Batches, Loss, LossOutput, Number
from faceloss.losses.mining import AllNegatives, Miner, Triplets, identities
from faceloss.losses.operations import angle, normalize
from faceloss.losses.pairwise import row_blocks

Reduction = Literal["mean", "active"]


class Sum(NamedTuple):
    """The terms of all tuples, as far as a reduction asks: their sum, how many are above 0, and how many there are."""

    total: Tensor  # 0-d
    above: int
    number: int

    def reduce(self, how: Reduction) -> Tensor:
        """The sum divided by the number of tuples ("mean") or by how many are above 0 ("active"); of nothing: 0.

        >>> float(total(torch.tensor([0.0, 1.0, 2.0])).reduce("active"))
        1.5
        """
        return self.total / max(self.number if how == "mean" else self.above, 1)


def total(values: Tensor) -> Sum:
    """The sum of ``values`` [T]."""
    return Sum(values.sum(), int((values > 0).sum()), values.numel())


class TupleHead(Loss):
    """The mean over mined tuples of a term of their distances.

    Args:
        measure: embeddings [B,D] -> distances [B,B], smaller = more alike; it normalizes, if anything does.
        miner: picks the tuples from the detached distances; see :mod:`faceloss.losses.mining`.
        term: the value of each tuple. For triplets ``term(positive [T], negative [T], **hyperparameters)`` gets the
            distances of the anchor to the two, element by element, for all negatives as [P,B] matrices; for pairs
            ``term(distance [P], same [P], label [P], **hyperparameters)`` also gets the label of the first. May be a
            module with parameters of its own.
        reduction: by what the sum of the terms is divided, see :class:`Sum`.
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
        if isinstance(tuples, AllNegatives):
            parameters = list(self.term.parameters()) if isinstance(self.term, nn.Module) else []
            terms = total_of_all(partial(self.term, **hyperparameters), distances, labels, tuples, parameters)
        elif isinstance(tuples, Triplets):
            second = torch.cat([tuples.positive, tuples.negative])
            positive, negative = distances[tuples.anchor.repeat(2), second].chunk(2)  # [T], [T]
            terms = total(self.term(positive, negative, **hyperparameters))
        else:
            distance = distances[tuples.first, tuples.second]  # [P]
            terms = total(self.term(distance, tuples.same, labels[tuples.first], **hyperparameters))
        loss = terms.reduce(self.reduction)
        if self.penalty is not None:
            loss = loss + self.penalty(labels, **hyperparameters)
        active = torch.tensor(terms.above / terms.number if terms.number else torch.nan, dtype=torch.float64)
        statistics = {"active": active, **describe(distances, points, labels)}
        return LossOutput(loss, statistics | {"norm": _mean(torch.linalg.vector_norm(embeddings.detach(), dim=1))})


def total_of_all(
    term: Callable[[Tensor, Tensor], Tensor],
    distances: Tensor,
    labels: Tensor,
    tuples: AllNegatives,
    parameters: list[nn.Parameter],
) -> Sum:
    """The sum of ``term`` over pairs x negatives, block by block.

    The gradient of a block is taken along with its value, into one matrix [B,B]; nothing of the block outlives it.
    """
    groups, apart, inputs = identities(labels), distances.detach(), [distances, *parameters]
    wanted = torch.is_grad_enabled() and any(given.requires_grad for given in inputs)
    gradients = [torch.zeros_like(given) for given in inputs] if wanted else []
    value, above, number = torch.zeros(3, dtype=torch.float64, device=distances.device)
    for block in row_blocks(len(tuples.anchor), len(labels), labels.device):
        anchor, positive = tuples.anchor[block], tuples.positive[block]
        near = apart[anchor, positive].unsqueeze(1).requires_grad_(wanted)  # [p,1]
        far = apart.index_select(0, anchor).requires_grad_(wanted)  # [p,B]
        kept = torch.ones_like(far)  # 1 where there is a triplet, else 0
        if tuples.farther:
            torch.gt(far.detach(), near.detach(), out=kept)
        kept[groups.of(anchor)] = 0
        with torch.set_grad_enabled(wanted):
            values = term(near.expand_as(far), far)  # [p,B]
        seen = values.detach() * kept
        value, above, number = value + seen.sum(), above + seen.gt_(0).sum(), number + kept.sum()
        if wanted:
            leaves = [near, far, *parameters]
            of_near, of_far, *of_parameters = torch.autograd.grad(values, leaves, kept, materialize_grads=True)
            gradients[0].index_put_((anchor, positive), of_near.squeeze(1), accumulate=True)
            gradients[0].index_add_(0, anchor, of_far)
            for held, more in zip(gradients[1:], of_parameters, strict=True):
                held.add_(more)
    summed = value.to(distances.dtype)
    if wanted:
        summed = _Known.apply(summed, gradients, *inputs)  # type: ignore[no-untyped-call]
    return Sum(summed, int(above), int(number))


class _Known(torch.autograd.Function):
    """A value whose gradients were computed along with it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(outer * gradient for gradient in ctx.saved_tensors)


@torch.no_grad()
def describe(distances: Tensor, embeddings: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """What the batch looks like, whatever the miner and the margin are: the statistics of :class:`TupleHead`."""
    distances, groups, count = distances.detach(), identities(labels), len(labels)
    anchor, positive = groups.pairs()
    closest = torch.empty_like(labels)
    for rows in row_blocks(count, count, labels.device):
        others = distances[rows].clone()
        others.diagonal(rows.start).fill_(torch.inf)
        closest[rows] = others.argmin(1)
    directions = normalize(embeddings)
    cos = directions.new_empty(len(anchor))
    for block in row_blocks(len(anchor), directions.shape[1], labels.device):
        cos[block] = (directions[anchor[block]] * directions[positive[block]]).sum(1)
    genuine = distances[anchor, positive].double()
    impostors = count * (count - 1) - len(anchor)
    impostor = distances.sum(1).double().sum() - distances.diagonal().double().sum() - genuine.sum()
    return {
        "accuracy": _mean((labels[closest] == labels) & (count > 1)),
        "target_angle": _mean(torch.rad2deg(angle(cos))),
        "positive_distance": _mean(genuine),
        "negative_distance": impostor / impostors if impostors else torch.full_like(impostor, torch.nan),
        "norm": _mean(torch.linalg.vector_norm(embeddings, dim=1)),
    }


def _mean(values: Tensor) -> Tensor:
    return values.double().mean()
