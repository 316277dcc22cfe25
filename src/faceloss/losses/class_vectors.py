"""Where the class vectors of a head come from: all learnt ones, a sample of them, several per class, the batch itself.

A source is a function or module called with those of ``weight`` [R,D] (the head's learnt rows), ``embeddings`` [B,D],
``labels`` [B], ``generator``, ``training`` and the head's hyperparameters that its parameters name. Of a head that is
spread over processes these are the rows and the labels held here (-1: elsewhere); ``present`` [B] are all labels, and
``shards`` says which classes are held (None: all).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from faceloss.losses.operations import normalize
from faceloss.losses.sampling import draw, take
from faceloss.losses.shards import Shards

SHARE = 8000 / 126_450  # of the released training of VPL: 25 epochs of 5,179,510 images, 1,024 in a batch


class ClassVectors(NamedTuple):
    """The vectors that a batch is compared with."""

    rows: Tensor  # [C*each,D]: ``each`` rows in a row for each of C classes; with ``chosen`` [K,D]
    column: Tensor  # [B] in 0 .. C-1: the own class of each sample
    each: int = 1  # a class's logit is the largest of its rows
    chosen: Tensor | None = None  # [C] rising: only these of the rows count, and get a gradient, which is then sparse

    def taken(self) -> "ClassVectors":
        """The same without ``chosen``: the rows that count, [C,D]."""
        return self if self.chosen is None else ClassVectors(take(self.rows, self.chosen), self.column)


def learnt(weight: Tensor, labels: Tensor) -> ClassVectors:
    """All rows, one per class."""
    return ClassVectors(weight, labels)


def centroids(embeddings: Tensor, labels: Tensor) -> ClassVectors:
    """The mean embedding of each class in the batch, with its gradient; classes not in the batch are absent."""
    present, column, count = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = embeddings.new_zeros(len(present), embeddings.shape[1]).index_add(0, column, embeddings)
    return ClassVectors(sums / count.unsqueeze(1), column)


class SubCenters(nn.Module):
    """``each`` rows of ``weight`` per class; the nearest one counts."""

    def __init__(self, each: int):
        super().__init__()
        self.each = each

    def forward(self, weight: Tensor, labels: Tensor) -> ClassVectors:
        return ClassVectors(weight, labels, self.each)


class Sampled(nn.Module):
    """Partial FC: in training all classes of the batch and random others, up to ``rate`` of all; else all classes.

    Which others depends on the key of the pass alone (:meth:`Loss.key`: seed and step), so that there is no generator
    to save: a run that continues from a checkpoint draws what it would have drawn. The gradient of ``weight`` is
    sparse: a ``torch.sparse_coo`` tensor of the rows that take part, for an optimizer that leaves the others alone.
    Of several processes each draws the same classes and takes those that it holds: their number does not matter.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(
        self,
        weight: Tensor,
        labels: Tensor,
        generator: Callable[[str], torch.Generator],
        training: bool,
        present: Tensor | None = None,
        shards: Shards | None = None,
    ) -> ClassVectors:
        if not training:
            return ClassVectors(weight, labels)
        classes = len(weight) if shards is None else shards.classes
        # At least one class more than one: a positive without a negative would teach nothing.
        wanted = max(round(self.rate * classes), 2)
        chosen = draw(classes, labels if present is None else present, wanted, generator("partial fc"))
        if shards is not None:
            chosen = chosen[(chosen >= shards.low) & (chosen < shards.high)] - shards.low
        column = torch.where(labels >= 0, torch.searchsorted(chosen, labels), -1)
        if weight.requires_grad and weight.is_leaf:
            return ClassVectors(weight, column, chosen=chosen)
        return ClassVectors(weight[chosen], column)  # what made it, a cast, needs the gradient of all rows


def by_class(vectors: Callable[..., ClassVectors]) -> bool:
    """Whether ``vectors`` takes learnt rows as they are, all, some, or several of a class: they can be spread."""
    return vectors is learnt or isinstance(vectors, Sampled | SubCenters)


class Mixed(nn.Module):
    """VPL: each direction is mixed with the last unit embedding seen of its class, while that one is young enough.

    row_j = (1 - lam) w'_j + lam f_j  where f_j is at most ``age`` training passes old and ``start`` passes are done
    """

    memory: Tensor  # [K,D] unit embeddings
    seen: Tensor  # [K] training pass of the last embedding; -1: none yet
    passes: Tensor  # 0-d: number of training passes so far

    def __init__(self, dim: int, classes: int, *, start: int, age: int):
        super().__init__()
        self.start, self.age = start, age
        self.register_buffer("memory", torch.zeros(classes, dim))
        self.register_buffer("seen", torch.full((classes,), -1))
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def forward(self, weight: Tensor, embeddings: Tensor, labels: Tensor, lam: Tensor) -> ClassVectors:
        young = (self.seen >= 0) & (self.passes + self.training - self.seen <= self.age)  # [K]
        share = torch.where(young & (self.passes + self.training > self.start), lam, 0.0).to(weight.dtype).unsqueeze(1)
        rows = (1 - share) * normalize(weight) + share * self.memory.to(weight.dtype)  # [K,D]
        if self.training:
            self._remember(embeddings.detach(), labels)
        return ClassVectors(rows, labels)

    def remark(self, steps: int) -> str:
        """Whether a training of ``steps`` steps ends before the mixing starts."""
        if self.start < steps:
            return ""
        return (
            f"Class vectors are mixed after start = {self.start} steps, and this training has {steps}: they never are. "
            f"Give a smaller start; the same share of this training as in the release is start={round(SHARE * steps)}."
        )

    def _remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """The mean direction of a class in the batch: unlike its last row, it does not depend on the batch's order."""
        self.passes += 1
        mean = centroids(normalize(embeddings), labels)
        present = torch.unique(labels)
        self.memory[present] = normalize(mean.rows).to(self.memory.dtype)
        self.seen[present] = self.passes
