"""All that changes while a run trains, as one value that can be saved, restored to the bit, and forked."""

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from faceloss.losses.core import Loss
from faceloss.losses.shards import Shards
from faceloss.losses.spread import class_parameters
from faceloss.train import rows
from faceloss.train.census import Census, empty
from faceloss.train.settings import Recipe


@dataclass
class State:
    """Network, loss, optimizer and counters. Random numbers are keyed by (seed, epoch, ...), so none are kept here."""

    net: nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    epoch: int = 0  # the epoch being trained, from 0
    batch: int = 0  # batches of that epoch already taken
    step: int = 0  # optimizer steps taken
    images_seen: int = 0
    totals: dict[str, tuple[float, int]] = field(default_factory=dict)  # of this epoch: sum over images, images
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry a finished epoch
    census: Census = field(default_factory=empty)  # of this epoch's samples
    seconds: float = 0.0  # wall clock spent training, over all resumes
    cpu_seconds: float = 0.0
    clock: list[float] = field(default_factory=list)  # ``seconds`` at the end of each epoch

    def fork(self) -> "State":
        """An independent copy of everything: weights, moments, buffers, counters."""
        return copy.deepcopy(self)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by a name that says where it belongs; of what is spread this process's part."""
        named = {f"net.{key}": value for key, value in self.net.state_dict().items()}
        named |= {f"loss.{key}": value for key, value in self.loss.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            named |= {f"optimizer.{index}.{key}": value for key, value in moments.items() if torch.is_tensor(value)}
        return named

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All that is trained: what every process of a run has alike, and what is spread over them."""
        spread = [name for name, held in class_parameters(self.loss).items() if held.high - held.low < held.classes]
        parts = [self.loss.get_parameter(name) for name in spread]
        return [p for p in self._trained() if not any(p is part for part in parts)], parts

    def held(self) -> dict[str, Shards]:
        """What of :meth:`tensors` has rows by class -> of which classes; "optimizer.7" stands for all moments of 7."""
        every = self._trained()
        found: dict[str, Shards] = {}
        for name, held in class_parameters(self.loss).items():
            parameter = self.loss.get_parameter(name)
            index = next(i for i, p in enumerate(every) if p is parameter)
            found |= {f"loss.{name}": held, f"optimizer.{index}": held}
        return found

    def _trained(self) -> list[nn.Parameter]:
        """All parameters, by their numbers in the optimizer."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def facts(self) -> dict[str, Any]:
        """The counters and logs, as JSON."""
        names = ("epoch", "batch", "step", "images_seen", "totals", "history", "seconds", "cpu_seconds", "clock")
        return {**{name: getattr(self, name) for name in names}, "census": self.census.tolist()}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Continue from what :meth:`tensors` and :meth:`facts` gave; the state must have been built alike."""
        parts: dict[str, dict[str, Tensor]] = {"net": {}, "loss": {}}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, key = name.split(".", 1)
            if part == "optimizer":
                index, key = key.split(".", 1)
                moments.setdefault(int(index), {})[key] = tensor
            else:
                parts[part][key] = tensor
        self.net.load_state_dict(parts["net"])
        self.loss.load_state_dict(parts["loss"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for name, value in facts.items():
            setattr(self, name, value)
        self.totals = {name: (value, count) for name, (value, count) in facts["totals"].items()}
        self.census = np.array(facts.get("census", empty()))


def resolve_device(name: str) -> torch.device:
    """The device behind "auto": the GPU where there is one, the CPU elsewhere."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def resolve_precision(name: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """The precision behind "auto": bfloat16 where the device computes in it natively, float32 elsewhere."""
    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    capable = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return "bf16" if capable else "fp32"


def build_optimizer(net: nn.Module, loss: Loss, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW; weight decay on matrices and kernels only.

    Biases, normalization weights and slopes are vectors and are not decayed. A loss may ask for another decay or a
    multiple of the learning rate for parameters of its own (``Loss.optimizer_options``).

    Updates are fused, one pass over the memory without a temporary copy of the parameter: 100,000 class vectors of 128
    numbers take 5 instead of 34 ms of a CPU with SGD, 9 instead of 68 with AdamW. Only SGD on a CPU goes the plain way
    for kernels in channels-last order, which its fused form would first copy (4.3 instead of 2.0 ms for 512x512x3x3).
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    options = loss.optimizer_options()
    for name, parameter in [*net.named_parameters(), *((f"loss.{n}", p) for n, p in loss.named_parameters())]:
        own = options.get(name.removeprefix("loss."), {}) if name.startswith("loss.") else {}
        decay = own.get("weight_decay", recipe.weight_decay if parameter.ndim > 1 else 0.0)
        fused = parameter.is_cuda or (parameter.is_cpu and (recipe.optimizer == "adamw" or parameter.is_contiguous()))
        groups.setdefault((decay, own.get("learning_rate_scale", 1.0), fused), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "weight_decay": decay,
            "scale": scale,
            "lr": recipe.learning_rate * scale,
            "fused": fused or None,  # None: PyTorch's own choice
        }
        for (decay, scale, fused), parameters in groups.items()
    ]
    if recipe.optimizer == "adamw":
        return rows.AdamW(settings, lr=recipe.learning_rate)
    return rows.SGD(settings, lr=recipe.learning_rate, momentum=recipe.momentum)
