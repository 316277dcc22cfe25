"""One yes-or-no question for each class in place of one softmax over all: the head of SphereFace2, UniFace and USS."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from faceloss.losses.class_vectors import ClassVectors, by_class, learnt
from faceloss.losses.core import Loss, LossOutput, Number, watch
from faceloss.losses.heads import asked
from faceloss.losses.operations import angle, cross_entropy, normalize
from faceloss.losses.scores import Blocks, Scores, own_rows
from faceloss.losses.shards import Shards, held, table

Numbers = Mapping[str, Tensor]
Change = Callable[[Tensor, Numbers], Tensor]  # (cosines, hyperparameters) -> cosines


class BinaryHead(Loss):
    """K logistic losses with one bias for all.

    With c_j the cosine between embedding and class vector j:

        loss = mean over the batch of  yes * softplus(-(s psi(c_y) + b)) + no * sum_{j != y} softplus(s phi(c_j) + b)

    It is no :class:`ClassHead`, because classes do not compete: there is no sum over classes inside a logarithm.

    Args:
        scale, scale_name: s and the hyperparameter's name, which in a sum must differ from another term's.
        psi, phi: what the target cosine [B] and the other cosines [B,K] become; they see all hyperparameters.
        weigh: the factors yes and no, from the hyperparameters; 1 and 1 by default.
        bias: the start of b, which is learnt and not decayed.
        vectors, rows: as in :class:`ClassHead`; of the names there ``vectors`` may ask for "weight", "embeddings",
            "labels", "generator", "training", "present" and "shards".
        shift: is added to b; it is handed a function that gives log sum_{j != y} exp(s phi(c_j)) [B], and no gradient.
        gradient: "exact", or "straight-through": psi and phi change values but not slopes.

    Statistics: "accuracy", share of targets with the largest cosine; "target_angle", mean theta_y in degrees;
    "cross_entropy", that of softmax at scale s without margin; "scale"; "norm", mean ||x||; "bias".
    """

    weight: Tensor | None

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        scale: Number,
        scale_name: str = "s",
        psi: Change,
        phi: Change,
        bias: float,
        weigh: Callable[[Numbers], tuple[Tensor | float, Tensor | float]] = lambda numbers: (1.0, 1.0),
        vectors: Callable[..., ClassVectors] = learnt,
        rows: int | None = None,
        shift: Callable[[Callable[[], Tensor]], Tensor] | None = None,
        gradient: Literal["exact", "straight-through"] = "exact",
        hyperparameters: Mapping[str, Number] | None = None,
    ):
        numbers = dict(hyperparameters or {}) | {scale_name: scale}
        options = {"bias": {"weight_decay": 0.0}}
        super().__init__(dim, classes, batches="shuffled", hyperparameters=numbers, options=options)
        self.psi, self.phi, self.weigh, self.shift = psi, phi, weigh, shift
        self.draw_from(vectors)
        self.gradient = gradient
        self.blocks = Blocks()
        self.shards: Shards | None = held(classes) if by_class(vectors) else None  # see faceloss.losses.spread
        self.scale_name = scale_name
        rows = classes if rows is None else rows
        self.weight = nn.Parameter(table(rows, dim, self.shards)) if rows else None  # [R,D]
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def draw_from(self, vectors: Callable[..., ClassVectors]) -> None:
        """Take the class vectors from ``vectors``, which reads the rows of this head."""
        offered = ["weight", "embeddings", "labels", "generator", "training", "present", "shards"]
        self._asks = asked(vectors, "vectors", offered)
        self.vectors = vectors

    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        numbers = self.hyperparameters()
        s = numbers[self.scale_name]
        offered = {
            "weight": None if self.weight is None else self.weight.to(embeddings.dtype),
            "embeddings": embeddings,
            "labels": labels if self.shards is None else self.shards.column(labels),
            "generator": self.generator,
            "training": self.training,
            "present": labels,
            "shards": self.shards,
        }
        drawn = self.vectors(**{name: offered[name] for name in self._asks})
        own, drawn = own_rows(drawn, self.blocks, self.shards)  # [B,D]
        x = normalize(embeddings)
        cos = (x * normalize(own)).sum(1)  # [B]
        self.targets = targets = watch(cos, s)
        cos = cos if targets is None else cos + targets.zeros[0]
        scores = Scores(x, drawn, unit=True, bias=None, blocks=self.blocks, shards=self.shards)

        def logits(cosines: Tensor) -> Tensor:
            return s * self._changed(self.phi, cosines, numbers)

        target = s * self._changed(self.psi, cos, numbers)
        bias = self.bias.to(cos.dtype)
        if self.shift is not None:
            with torch.no_grad():
                known = self.shift(lambda: scores.read(logits).log_sum_exp)
            bias = bias + known
        yes, no = self.weigh(numbers)
        spread = bias if self.shards is None else self.shards.copy(bias)
        read = scores.read(
            change=lambda cosines: s * cosines.detach(),
            total=lambda cosines: -logsigmoid(-(logits(cosines) + spread)),
        )
        loss = (-yes * logsigmoid(target + bias) + no * read.total).mean()

        with torch.no_grad():
            statistics = {
                "accuracy": (read.own > read.largest).to(loss.dtype).mean(),
                "target_angle": torch.rad2deg(angle(cos)).mean(),
                "cross_entropy": cross_entropy(s * cos, read.log_sum_exp).mean(),
                "scale": s.clone(),
                "norm": torch.linalg.vector_norm(embeddings, dim=1).mean(),
                "bias": bias.clone(),
            }
        return LossOutput(loss, {name: value.detach() for name, value in statistics.items()})

    def _changed(self, change: Change, cosines: Tensor, numbers: Numbers) -> Tensor:
        changed = change(cosines, numbers)
        return cosines + (changed - cosines).detach() if self.gradient == "straight-through" else changed
