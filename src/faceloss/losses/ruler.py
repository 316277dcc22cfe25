"""The common ruler: what any loss does at each angle, in units that compare, computed from the loss itself.

A loss is a black box here. It is given one sample at a time in a known situation, and only its value, its derivative
and its statistics are read; there is no second formula that could differ from the first. All curves are in float64, in
evaluation mode, at the start of training: memories are empty and running numbers are where they start.

The situation of a loss over classes: ``CLASSES`` classes, or as many as a loss already built has; the sample, of norm
``NORM``, at the angle theta to its own class vector; one wrong class at the cosine ``LOOKALIKE`` to it, all others at a
right angle; class vectors of norm 1, wherever the loss takes them from (a batch, a memory, several per class). The
situation of a loss over pairs and triplets: two faces of norm ``NORM`` at the angle theta, whatever the miner would say
of them; where a triplet has another distance besides, a genuine one is at ``GENUINE`` degrees, an impostor one at
``IMPOSTOR`` degrees.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from faceloss.losses import build
from faceloss.losses.binary import BinaryHead
from faceloss.losses.class_vectors import ClassVectors
from faceloss.losses.core import Loss
from faceloss.losses.heads import ClassHead
from faceloss.losses.mining import Pairs, Triplets
from faceloss.losses.operations import normalize
from faceloss.losses.sums import SumLoss
from faceloss.losses.tuples import TupleHead

CLASSES = 1_000
LOOKALIKE = 0.3
NORM = 30.0
GENUINE = 45.0
IMPOSTOR = 75.0
ANGLES = tuple(1.5 + 3.0 * i for i in range(60))  # degrees; at the ends a slope against the cosine has no meaning
DIM = 3  # enough for a sample, its own class and a wrong one

Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Says nothing of the progress."""


class ClassCurve(NamedTuple):
    """A loss over classes against the angle to the own class; one number for each angle.

    With L the loss of the sample, c = cos theta, s the scale of the loss, R = log sum over the wrong classes of
    exp(s c_j) without any rule for them:

        nats     (s c - R) + log(exp(L) - 1): what has to be taken from the target logit s c of plain softmax to make
                 its loss L; a rule that raises wrong classes counts as well
        target   (R - log(exp(L) - 1)) / s = c - nats / s: the target logit, in units of the cosine, with which plain
                 softmax has the loss L; for a margin on the target alone this is psi
        weight   |dL/dc| / s: how hard the target cosine is pulled
        plain    1 - p: the weight that plain softmax of the same scale gives
        slope    |dL/dc| / (s (1 - exp(-L))): the same relative to plain softmax of the same scale s at the same
                 probability p = exp(-L); for a margin on the target alone this is d psi / d c

    The derivative is autograd's: of a straight-through margin it is the gradient that trains, not psi's slope.
    """

    angle: tuple[float, ...]  # theta in degrees
    cos: tuple[float, ...]
    loss: tuple[float, ...]  # nats
    nats: tuple[float, ...]
    target: tuple[float, ...]
    weight: tuple[float, ...]
    plain: tuple[float, ...]
    slope: tuple[float, ...]
    scale: float


class PairCurve(NamedTuple):
    """A loss over pairs or triplets against the angle between two faces; one number for each angle.

    The force is the derivative of the loss by the angle, per radian: above 0 it draws the two faces together, below 0
    it pushes them apart. Of a triplet, one distance moves and the other is held, see the module.
    """

    angle: tuple[float, ...]  # degrees
    genuine: tuple[float, ...]  # loss of two faces of one identity
    impostor: tuple[float, ...]  # loss of two faces of two
    genuine_force: tuple[float, ...]
    impostor_force: tuple[float, ...]
    triplets: bool  # whether the other distance of a triplet was held


class Measured(NamedTuple):
    """What the ruler says of a loss; ``left_out`` names the terms that are no function of one angle."""

    classes: ClassCurve | None
    pairs: PairCurve | None
    left_out: tuple[str, ...]


def measure_named(
    name: str, angles: Sequence[float] = ANGLES, progress: Progress = silent, **hyperparameters: Any
) -> Measured:
    """:func:`measure` of the loss ``name`` with these hyperparameters; raises what :func:`faceloss.losses.build` does.

    >>> {round(nats, 6) for nats in measure_named("cosface", m=0.35, s=64.0).classes.nats}
    {22.4}
    """
    dim = max(DIM, int(hyperparameters.get("size", DIM)))  # "size" is what a projection asks for; nothing else does
    return measure(build(name, dim=dim, classes=CLASSES, **hyperparameters), angles, progress)


def measure(loss: Loss, angles: Sequence[float] = ANGLES, progress: Progress = silent) -> Measured:
    """The curves of ``loss`` at ``angles`` in degrees, each inside 0 .. 180; the loss itself is left as it is.

    Of a sum, the terms over classes make one curve together, and so do those over pairs. Where float64 cannot hold a
    loss, for example at a scale of 1,000, and where a loss is negative, ``nats`` and ``target`` are nan.

    Raises:
        ValueError: an angle outside, or embeddings of fewer than 3 dimensions.
    """
    terms = _measured(loss, angles)
    heads = [(weight, term) for _, weight, term in terms if isinstance(term, ClassHead | BinaryHead)]
    tuples = [(weight, term) for _, weight, term in terms if isinstance(term, TupleHead)]
    curves = (ClassHead, BinaryHead, TupleHead)
    return Measured(
        _class_curve(heads, angles, progress) if heads else None,
        _pair_curve(tuples, angles, progress) if tuples else None,
        left_out=tuple(name for name, _, term in terms if name and not isinstance(term, curves)),
    )


def over_classes(loss: Loss, angles: Sequence[float] = ANGLES) -> ClassCurve | None:
    """The ``classes`` of :func:`measure` alone, for less work where ``loss`` is over pairs too, or only."""
    heads = [(weight, term) for _, weight, term in _measured(loss, angles) if isinstance(term, ClassHead | BinaryHead)]
    return _class_curve(heads, angles, silent) if heads else None


def _measured(loss: Loss, angles: Sequence[float]) -> list[tuple[str, float, Loss]]:
    """The terms of a copy of ``loss``, ready to be measured."""
    if not angles or not all(0 < angle < 180 for angle in angles):
        raise ValueError(f"Angles must lie inside 0 .. 180 degrees; given {list(angles)}.")
    if loss.dim < DIM:
        raise ValueError(f"The ruler needs embeddings of at least {DIM} dimensions; given {loss.dim}.")
    return list(_terms(copy.deepcopy(loss).double().eval()))


def factors(loss: Loss, probabilities: Sequence[float]) -> tuple[float, ...]:
    """h = exp(-L) / p where plain softmax of the same scale gives the target the probability p, one for each p.

    h is what a search over losses moves (Wang et al., ICML 2020, eq. 7). For CosFace, Random- and Search-Softmax it is
    1 / (a p + 1 - a) with a = 1 - exp(s m), whatever else the situation is; other losses are taken in that of the
    module. nan where no angle has this probability; nothing of a loss without classes.

    >>> round(factors(build("cosface", dim=3, classes=50, m=0.1, s=32.0), [0.5])[0], 6)
    0.078331

    Raises:
        ValueError: as :func:`measure`.
    """
    middle = over_classes(loss, [90.0])
    if middle is None:
        return ()
    s = middle.scale
    others = s * middle.target[0] + float(log_odds(torch.tensor(middle.loss[0], dtype=torch.float64)))  # R
    cosines = [(others + math.log(p / (1 - p))) / s for p in probabilities]
    angles = [math.degrees(math.acos(cos)) for cos in cosines if -1 < cos < 1]
    curve = over_classes(loss, angles) if angles else None
    found = iter(curve.loss if curve is not None else ())
    return tuple(
        math.exp(-next(found)) / p if -1 < cos < 1 else math.nan for p, cos in zip(probabilities, cosines, strict=True)
    )


def in_words(measured: Measured) -> tuple[str, ...]:
    """In which situation the curves were taken and what is not in them, in sentences."""
    said = []
    if measured.classes is not None:
        said.append(
            f"Computed from the loss itself, at scale s = {measured.classes.scale:.4g}: {CLASSES:,} classes, one wrong "
            f"class at cosine {LOOKALIKE:g}, the others at right angles; embeddings of norm {NORM:g}; before the first "
            "training step."
        )
    if measured.pairs is not None:
        held = f" The other face of a triplet is at {GENUINE:g} degrees if genuine, at {IMPOSTOR:g} if impostor."
        said.append(
            f"Computed from the loss itself: two faces, embeddings of norm {NORM:g}."
            + (held if measured.pairs.triplets else "")
        )
    if not said:
        said.append("No curve: this loss compares whole batches and is no function of one angle.")
    if measured.left_out:
        said.append(f"Not in the curve, as no function of this angle: the term {', '.join(measured.left_out)}.")
    return tuple(said)


def log_odds(loss: Tensor) -> Tensor:
    """log(exp(L) - 1), which is log((1 - p) / p) of p = exp(-L), without overflow for large and small L > 0."""
    return loss + torch.log(-torch.expm1(-loss))


class Held(nn.Module):
    """A source of class vectors that says where they are; the sample is of the first class."""

    rows: Tensor  # [K,D]

    def forward(self, *_: Any, **__: Any) -> ClassVectors:
        return ClassVectors(self.rows, torch.zeros(1, dtype=torch.int64))


class Unit(nn.Module):
    """In place of a projection: nothing but the unit length that it gives."""

    def forward(self, embeddings: Tensor) -> Tensor:
        return normalize(embeddings)


def _terms(loss: Loss, name: str = "", weight: float = 1.0) -> Iterator[tuple[str, float, Loss]]:
    """(name, weight, loss) of each part of a sum; of any other loss, itself without a name."""
    if not isinstance(loss, SumLoss):
        yield name, weight, loss
        return
    for part, term in loss.terms.items():
        assert isinstance(term, Loss)
        yield from _terms(term, part, weight * loss.weight_of(part))


def _class_curve(
    heads: list[tuple[float, ClassHead | BinaryHead]], angles: Sequence[float], progress: Progress
) -> ClassCurve:
    first = heads[0][1]
    held = Held()
    for _, head in heads:
        head.vectors = held
    embedding = torch.zeros(1, first.dim, dtype=torch.float64)
    embedding[0, 0] = NORM
    wrong = torch.zeros(first.classes - 1, first.dim, dtype=torch.float64)  # [K-1,D]
    wrong[:, 2] = 1.0
    wrong[0, 0], wrong[0, 2] = LOOKALIKE, (1 - LOOKALIKE**2) ** 0.5
    label = torch.zeros(1, dtype=torch.int64)
    names = ("cos", "loss", "nats", "target", "weight", "plain", "slope")
    values: dict[str, list[float]] = {name: [] for name in names}
    scale = 0.0
    for _, head in heads:
        if isinstance(head, BinaryHead) and head.shift is not None:  # its bias is found from the first batch it sees
            held.rows = torch.cat([wrong.new_zeros(1, first.dim), wrong])
            head.train()(embedding, label)
            head.eval()
    for done, angle in enumerate(angles):
        cos = torch.tensor(angle, dtype=torch.float64).deg2rad().cos().requires_grad_()
        own = torch.cat([cos[None], (1 - cos.square()).sqrt()[None], cos.new_zeros(first.dim - 2)])  # [D]
        held.rows = torch.cat([own[None], wrong])
        outputs = [head(embedding, label) for _, head in heads]
        loss = torch.stack([weight * output.loss for (weight, _), output in zip(heads, outputs, strict=True)]).sum()
        (pull,) = torch.autograd.grad(loss, cos)
        loss, plain = loss.detach(), outputs[0].statistics["cross_entropy"]
        scale = float(outputs[0].statistics["scale"])
        nats = log_odds(loss) - log_odds(plain)  # log_odds(plain) = R - s c
        for name, value in {
            "cos": cos,
            "loss": loss,
            "nats": nats,
            "target": cos - nats / scale,
            "weight": pull.abs() / scale,
            "plain": -torch.expm1(-plain),
            "slope": pull.abs() / (scale * -torch.expm1(-loss)),
        }.items():
            values[name].append(float(value.detach()) + 0.0)  # no -0
        progress("angles", done + 1, len(angles))
    return ClassCurve(tuple(angles), **{name: tuple(numbers) for name, numbers in values.items()}, scale=scale)


def _pair_curve(heads: list[tuple[float, TupleHead]], angles: Sequence[float], progress: Progress) -> PairCurve:
    triplets = [_mines_triplets(head) for _, head in heads]

    def at(angle: float, same: bool) -> tuple[float, float]:
        """Loss and force of two faces at ``angle`` degrees."""
        theta = torch.tensor(angle, dtype=torch.float64).deg2rad().requires_grad_()
        held = torch.tensor(IMPOSTOR if same else GENUINE, dtype=torch.float64).deg2rad()
        zero = torch.zeros_like(held)
        total = zero
        for (weight, head), triplet in zip(heads, triplets, strict=True):
            head.miner = partial(_mine, same=same, triplet=triplet)
            head.project = Unit() if head.project is not None else None  # the angle is the one after it
            face = torch.stack([zero + 1, zero, zero])
            moved = torch.stack([theta.cos(), theta.sin(), zero])
            other = torch.stack([held.cos(), zero, held.sin()])
            rows = nn.functional.pad(NORM * torch.stack([face, moved, other]), (0, head.dim - DIM))  # [3,D]
            total = total + weight * head(rows, torch.tensor([0, 0, 1] if same else [0, 1, 0])).loss
        (force,) = torch.autograd.grad(total, theta)
        return float(total.detach()) + 0.0, float(force) + 0.0  # no -0

    genuine, impostor = ([at(angle, same) for angle in angles] for same in (True, False))
    progress("angles", len(angles), len(angles))
    columns = [tuple(column) for pairs in (genuine, impostor) for column in zip(*pairs, strict=True)]
    return PairCurve(tuple(angles), columns[0], columns[2], columns[1], columns[3], triplets=any(triplets))


def _mines_triplets(head: TupleHead) -> bool:
    distances = torch.ones(4, 4, dtype=torch.float64).fill_diagonal_(0)
    return not isinstance(head.miner(distances, torch.tensor([0, 0, 1, 1]), torch.Generator()), Pairs)


def _mine(*_: Any, same: bool, triplet: bool) -> Pairs | Triplets:
    """The face and the one that moves; as a triplet, with the one that is held."""
    face, moved, held = torch.tensor([0]), torch.tensor([1]), torch.tensor([2])
    if triplet:
        return Triplets(face, moved, held) if same else Triplets(face, held, moved)
    return Pairs(face, moved, torch.tensor([same]))
