"""What the checks share: the loss in one setting, a batch on which nothing is at rest, gradients by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from faceloss.losses import Description
from faceloss.losses.core import Loss

DIM, CLASSES = 8, 6


@dataclass(frozen=True)
class Case:
    """A loss in one setting. ``make(dim=, classes=, seed=, **more)`` builds it."""

    name: str
    make: Callable[..., Loss]
    description: Description
    straight_through: bool = False

    def loss(self, dim: int = DIM, classes: int = CLASSES, **more: Any) -> Loss:
        return self.make(dim=dim, classes=classes, **more)


def must(condition: object, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)


def refused(error: type[Exception], call: Callable[[], object], what: str) -> str:
    """The sentence with which ``call`` was refused."""
    try:
        call()
    except error as raised:
        return str(raised)
    except Exception as raised:
        raise AssertionError(f"{what}: {type(raised).__name__} ({raised}) instead of {error.__name__}") from raised
    raise AssertionError(f"{what} was accepted")


def batch(seed: int = 0, *, dim: int = DIM, classes: int = CLASSES, each: int = 3, dtype: Any = None) -> Any:
    """``each`` samples of every class, overlapping so that no loss is at rest: [classes*each, dim], labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat(each)
    middle = torch.randn(classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64)
    return (0.6 * middle[labels] + noise).to(dtype or torch.float64), labels


def gradients(loss: Loss, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss value and the gradients of the embeddings and of every parameter, by name."""
    embeddings = embeddings.detach().clone().requires_grad_()
    loss.zero_grad(set_to_none=True)
    value = loss(embeddings, labels).loss
    value.backward()
    named = {"embeddings": embeddings, **dict(loss.named_parameters())}
    for name, tensor in named.items():
        must(tensor.grad is not None, f"{name} got no gradient at all")
    return value.detach(), {name: tensor.grad.clone() for name, tensor in named.items() if tensor.grad is not None}


def close(one: Tensor, two: Tensor, tolerance: float) -> bool:
    return bool((one - two).abs().max() <= tolerance * (1 + two.abs().max()))


def is_random(loss: Loss, embeddings: Tensor, labels: Tensor) -> bool:
    return len({value(loss, embeddings, labels, step) for step in range(6)}) > 1


def value(loss: Loss, embeddings: Tensor, labels: Tensor, step: int = 0) -> float:
    loss.key(7, step)
    return float(loss(embeddings, labels).loss.detach())
