"""The one contract of every loss: raw embeddings and labels in, a loss and statistics out.

A loss is a final subclass of :class:`Loss` that defines ``compute`` and nothing else of the contract. What every loss
needs (checked input, float32 outside autocast, hyperparameters by name, keyed random numbers) is here, once.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from faceloss.errors import unknown
from faceloss.losses.operations import angle

Batches = Literal["shuffled", "identity-balanced"]


class Targets(NamedTuple):
    """How a loss over classes pulls at each sample of a batch, for those who look on. Of a sum, its first such term.

    Zeros are added to the target's cosine and to its plain logit rho omega_y c_y. After the backward pass their
    gradients say how the loss changes with the one and the other, whatever it does with them. No number changes.
    """

    cos: Tensor  # [B] c_y, detached
    scale: Tensor  # [] or [B] rho omega_y, detached
    zeros: Tensor  # [2,B] a leaf: what is added to the cosine, and to the logit

    def angles(self) -> Tensor:
        """theta_y in degrees, [B]."""
        return torch.rad2deg(angle(self.cos))

    def weights(self) -> Tensor:
        """|dL_i/dc_y| / (rho omega_y) of each sample, [B]; of plain softmax 1 - p. Asked after the backward pass.

        L_i is the loss of the sample, of which the loss is the mean.
        """
        if self.zeros.grad is None:
            return torch.zeros_like(self.cos)
        of_cos, of_logit = self.zeros.grad
        of_cos = torch.where(self.scale > 0, of_cos / torch.where(self.scale > 0, self.scale, 1.0), 0.0)
        weights: Tensor = len(self.cos) * (of_cos + of_logit).abs()
        return weights


def watch(cos: Tensor, scale: Tensor) -> Targets | None:
    """What looks on at targets of the cosines ``cos`` [B] and the scale rho omega_y; None where nothing is trained."""
    if not torch.is_grad_enabled():
        return None
    return Targets(cos.detach(), scale.detach(), cos.new_zeros(2, len(cos)).requires_grad_())


class LossOutput(NamedTuple):
    """What every loss returns."""

    loss: Tensor  # 0-d, differentiable
    statistics: dict[str, Tensor]  # detached 0-d tensors; logged, never used


class Number(NamedTuple):
    """A hyperparameter: its value and what it may be, ``low <= value <= high`` and ``value > above``."""

    value: float
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf

    def check(self, name: str) -> None:
        """Raises ValueError with one sentence when the value is not finite or outside its range."""
        inside = self.low <= self.value <= self.high and self.value > self.above
        if math.isfinite(self.value) and inside:
            return
        limits = [f"above {self.above:g}"] if self.above > -math.inf else []
        limits += [f"at least {self.low:g}"] if self.low > -math.inf else []
        limits += [f"at most {self.high:g}"] if self.high < math.inf else []
        allowed = " ".join(["a finite number", " and ".join(limits)]).strip()
        raise ValueError(f"{name} must be {allowed}; given {self.value:g}.")


class Loss(nn.Module, ABC):
    """A loss of face recognition.

    Call it as ``loss(embeddings, labels)`` with raw (never normalized) embeddings [B,D] in any floating type and
    labels [B] int64 in 0 .. classes-1. Normalizing, scale, margins and class vectors are the loss's own.

    Attributes:
        batches: the composition of batches that the loss wants, "shuffled" or "identity-balanced".
        project: a trained map of embeddings that belongs to the model and not to the training alone; None for most.
        targets: of a loss over classes, what the last pass did to its targets; None where there are none, or where
            nothing was trained.
    """

    clock: Tensor  # [2] int64: seed and step of the next random draw
    project: nn.Module | None

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        batches: Batches,
        hyperparameters: Mapping[str, Number],
        options: Mapping[str, Mapping[str, float]] | None = None,
    ):
        """``options`` holds, by parameter name, what :meth:`optimizer_options` hands out."""
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1; given {dim}.")
        if classes < 2:
            raise ValueError(f"A loss needs at least 2 classes to tell apart; given {classes}.")
        self.dim = dim
        self.classes = classes
        self.batches = batches
        self.project = None
        self.targets: Targets | None = None
        self._ranges = dict(hyperparameters)
        self._options = {name: dict(wishes) for name, wishes in (options or {}).items()}
        self.settings = nn.Module()  # holds the hyperparameters as buffers, so that state_dict keeps them
        for name, number in hyperparameters.items():
            number.check(name)
            # 0-d float64: the value is kept exactly, and a 0-d tensor does not change the type of what it meets.
            self.settings.register_buffer(name, torch.tensor(float(number.value), dtype=torch.float64))
        self.register_buffer("clock", torch.zeros(2, dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """The loss of a batch; float32 at least, whatever autocast says.

        Raises:
            ValueError: embeddings or labels of the wrong shape, type or range; embeddings that are not finite.
        """
        self._check(embeddings, labels)
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        self.targets = None
        with torch.autocast(embeddings.device.type, enabled=False):
            output = self.compute(embeddings.to(dtype), labels)
        if not isinstance(output, LossOutput):
            raise TypeError(
                f"{type(self).__name__}.compute must return a LossOutput(loss, statistics), not a "
                f"{type(output).__name__}."
            )
        loss, statistics = output
        if self.training:
            self.clock[1] += 1
        return LossOutput(loss.to(dtype), statistics)  # a 0-d loss times a 0-d hyperparameter would be float64

    def embed(self, embeddings: Tensor) -> Tensor:
        """What is compared at test time: ``embeddings`` [N,D] as they are, or mapped by ``project`` to [N,D'].

        Raises:
            ValueError: embeddings of the wrong shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.dim:
            raise ValueError(f"Embeddings must be [N, {self.dim}]; given {list(embeddings.shape)}.")
        if self.project is None:
            return embeddings
        dtype = torch.promote_types(embeddings.dtype, torch.float32)
        with torch.autocast(embeddings.device.type, enabled=False):
            projected: Tensor = self.project(embeddings.to(dtype))
        return projected

    @abstractmethod
    def compute(self, embeddings: Tensor, labels: Tensor) -> LossOutput:
        """The loss of checked ``embeddings`` [B,D] (float32 or float64) and ``labels`` [B]."""

    def hyperparameters(self) -> dict[str, Tensor]:
        """All hyperparameters that may move in time, by name, those of inner losses included (0-d tensors)."""
        return {name: value for loss in self._losses() for name, value in loss.settings.named_buffers()}

    def set_hyperparameters(self, values: Mapping[str, float | Tensor]) -> None:
        """Set hyperparameters by name; either all of them are set or, on an error, none.

        Raises:
            TypeError: a name this loss does not have; the sentence lists those it has.
            ValueError: a value that is not finite or outside its range.
        """
        held = self.hyperparameters()
        ranges = {name: number for loss in self._losses() for name, number in loss._ranges.items()}
        for name, value in values.items():
            if name not in held:
                raise TypeError(unknown("movable hyperparameter of this loss", name, held))
            ranges[name]._replace(value=float(value)).check(name)
        for name, value in values.items():
            held[name].fill_(float(value))

    def optimizer_options(self) -> dict[str, dict[str, float]]:
        """What parameters ask of the optimizer, by parameter name: "weight_decay", "learning_rate_scale"."""
        return {
            f"{prefix}.{name}" if prefix else name: dict(wishes)
            for prefix, module in self.named_modules()
            if isinstance(module, Loss)
            for name, wishes in module._options.items()
        }

    def key(self, seed: int, step: int) -> None:
        """Key the random numbers of the next forward pass. Without it, each training pass takes the next step."""
        for loss in self._losses():
            loss.clock.copy_(torch.tensor([seed, step]))

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator that depends on the key of this pass and on ``purpose``, on nothing else."""
        seed, step = self.clock.tolist()
        digest = hashlib.sha256(f"{seed}|{step}|{purpose}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def _losses(self) -> list["Loss"]:
        return [module for module in self.modules() if isinstance(module, Loss)]

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        shape = list(embeddings.shape)
        if embeddings.ndim != 2 or shape[1] != self.dim or shape[0] == 0:
            raise ValueError(f"Embeddings must be [B, {self.dim}] with B at least 1; given {shape}.")
        if not embeddings.is_floating_point():
            raise ValueError(f"Embeddings must be floating point; given {embeddings.dtype}.")
        if list(labels.shape) != shape[:1]:
            raise ValueError(f"Labels must be [{shape[0]}], one for each embedding; given {list(labels.shape)}.")
        if labels.dtype != torch.int64:
            raise ValueError(f"Labels must be int64; given {labels.dtype}.")
        finite = torch.isfinite(embeddings)
        low, high, all_finite = torch.stack([*labels.aminmax(), finite.all().to(labels.dtype)]).tolist()  # one transfer
        if not all_finite:
            row, place = (~finite).nonzero()[0].tolist()
            raise ValueError(f"Embeddings must be finite numbers; row {row} has {float(embeddings[row, place]):g}.")
        if low < 0 or high >= self.classes:
            raise ValueError(f"Labels must lie in 0 .. {self.classes - 1}; given {low} .. {high}.")
