"""What the checks share: the loss in one setting, a batch on which nothing is at rest, gradients by name."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from faceloss import losses
from faceloss.errors import FacelossError
from faceloss.losses import Description
from faceloss.losses.core import Loss
from faceloss.losses.outside import in_words
from faceloss.search.courses import Course, constant

DIM, CLASSES = 8, 6

# Defaults of faceloss's own losses that the small batches of the checks do not reach, and what is checked in place.
REACHED: dict[str, dict[str, float]] = {
    "adaface": {"h": 5.0},  # so that the norm of a batch is felt at the start, where its deviation counts as 100
    "vpl": {"start": 0},  # so that memories count from the second step on
    "magface": {"a_low": 1.0, "a_high": 6.0},  # so that the norms of a batch lie between
    "am_lfs": {"bins": 2},  # so that a batch reaches every part of both functions
    "contrastive on=raw": {"m": 6.0},  # the radius is in units of the embedding
    "sphereface2 kind=M": {"m": 1.7},  # a factor on the angle
}


@dataclass(frozen=True)
class Case:
    """A loss in one setting. ``make(dim=, classes=, seed=, **more)`` builds it, ``course`` is how it trains."""

    name: str
    make: Callable[..., Loss]
    description: Description
    straight_through: bool = False
    course: Course = constant

    def loss(self, dim: int = DIM, classes: int = CLASSES, **more: Any) -> Loss:
        return self.make(dim=dim, classes=classes, **more)


def cases(name: str, given: Mapping[str, float | str] | None = None) -> Iterator[Case]:
    """The loss ``name`` with its defaults, and once more for every other choice that a keyword offers.

    Hyperparameters without a default have their "Start with" value; ``given`` ones are the same in every case.
    """
    about, given = losses.describe(name), given or {}
    settings: list[dict[str, str]] = [{}]
    for keyword, known in about.hyperparameters.items():
        if keyword not in given:
            settings += [{keyword: choice} for choice in known.choices if choice != known.default]
    for setting in settings:
        label = "".join([name, *(f" {keyword}={choice}" for keyword, choice in {**given, **setting}.items())])
        reached = {**REACHED.get(name, {}), **REACHED.get(label, {})}
        values = {**about.start, **reached, **given, **setting}
        defaults = {keyword: known.default for keyword, known in about.hyperparameters.items()}
        inexact = (defaults | values).get("gradient", "exact") != "exact"
        make = partial(losses.build, name, **values)  # type: ignore[arg-type]
        yield Case(label, make, about, straight_through=inexact, course=losses.course(name, **values))


def failure(check: Callable[[Case], None], case: Case) -> str:
    """What ``check`` finds wrong with ``case``, as a sentence; nothing wrong: ""."""
    try:
        check(case)
    except AssertionError as error:
        return str(error) or in_words(error)
    except FacelossError as error:
        return str(error)
    except Exception as error:  # of somebody else's code: whatever it is, it is what the check found
        return f"the loss raises {in_words(error)}"
    return ""


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
    """Loss value and the gradients of the embeddings and of every parameter, by name; sparse ones made dense."""
    embeddings = embeddings.detach().clone().requires_grad_()
    loss.zero_grad(set_to_none=True)
    value = loss(embeddings, labels).loss
    value.backward()
    named = {"embeddings": embeddings, **dict(loss.named_parameters())}
    for name, tensor in named.items():
        must(tensor.grad is not None, f"{name} got no gradient at all")
    grads = {name: tensor.grad for name, tensor in named.items() if tensor.grad is not None}
    return value.detach(), {name: grad.to_dense() if grad.is_sparse else grad.clone() for name, grad in grads.items()}


def close(one: Tensor, two: Tensor, tolerance: float) -> bool:
    return bool((one - two).abs().max() <= tolerance * (1 + two.abs().max()))


def is_random(loss: Loss, embeddings: Tensor, labels: Tensor) -> bool:
    return len({value(loss, embeddings, labels, step) for step in range(6)}) > 1


def value(loss: Loss, embeddings: Tensor, labels: Tensor, step: int = 0) -> float:
    loss.key(7, step)
    return float(loss(embeddings, labels).loss.detach())
