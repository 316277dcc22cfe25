"""Optimizers and clipping for gradients of some rows of a parameter: the class vectors that take part in a step.

A sparse gradient [K,D] (:func:`faceloss.losses.sampling.take`) moves its rows and leaves all others as they are: value,
momentum and weight decay. Each row is moved as a parameter of its own would be, whose gradient is None in the steps in
which it takes no part; with all rows in every step that is the dense optimizer. Momentum is kept for every row, as in
the released code of Partial FC; the bias correction of AdamW counts the steps of each row, not those of the training.

torch's own optimizers do something else with a sparse gradient: SGD with weight decay and AdamW refuse it, SGD with
momentum moves every row that ever took part.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

AT_ONCE = 256  # rows; their values, gradients and moments stay in a processor's cache
Group = dict[str, Any]
Move = Callable[[Group, dict[str, Tensor], nn.Parameter, Tensor, Tensor], None]


class SGD(torch.optim.SGD):
    """``torch.optim.SGD`` that moves only the rows which a sparse gradient has."""

    def __init__(self, parameters: Iterable[Any], *, lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        super().__init__(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def step(self, closure: Any = None) -> Any:
        value = None if closure is None else torch.enable_grad()(closure)()
        with _apart(self, _sgd):
            super().step()
        return value


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW`` that moves only the rows which a sparse gradient has."""

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def step(self, closure: Any = None) -> Any:
        value = None if closure is None else torch.enable_grad()(closure)()
        with _apart(self, _adamw):
            super().step()
        return value


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Scale all gradients so that their common norm is ``most`` or less; returns the norm before, 0-d.

    ``torch.nn.utils.clip_grad_norm_``, which does not take sparse gradients.
    """
    held = gradients(parameters)
    norm = nn.utils.get_total_norm(held)
    scale_down(held, most, norm)
    return norm


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The gradients that there are; of a sparse one the rows that it has. To be changed in place."""
    held = []
    for parameter in parameters:
        if parameter.grad is not None:
            held.append(rows(parameter)[1] if _is_sparse(parameter) else parameter.grad)
    return held


def scale_down(held: list[Tensor], most: float, norm: Tensor) -> None:
    """Scale gradients, of which ``norm`` is the common norm, such that it is ``most`` or less."""
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for gradient in held:
        gradient.mul_(factor.to(gradient.dtype))


def rows(parameter: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Which rows the sparse gradient of ``parameter`` has [R], each once, and their values [R,D], in place."""
    gradient = parameter.grad
    assert gradient is not None
    index = gradient._indices()[0]
    if bool((index[1:] <= index[:-1]).any()):  # a row that was taken twice is there twice
        parameter.grad = gradient = gradient.coalesce()
    return gradient._indices()[0], gradient._values()


def _is_sparse(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and parameter.grad.is_sparse


@contextmanager
def _apart(optimizer: torch.optim.Optimizer, move: Move) -> Iterator[None]:
    """Move the rows of sparse gradients; inside, these gradients are out of sight."""
    held = []
    for group in optimizer.param_groups:
        for parameter in filter(_is_sparse, group["params"]):
            index, values = rows(parameter)
            with torch.no_grad():
                for some, gradient in zip(torch.split(index, AT_ONCE), torch.split(values, AT_ONCE), strict=True):
                    move(group, optimizer.state[parameter], parameter, some, gradient)
            held.append((parameter, parameter.grad))
            parameter.grad = None
    yield
    for parameter, gradient in held:
        parameter.grad = gradient


def _sgd(group: Group, state: dict[str, Tensor], parameter: nn.Parameter, index: Tensor, gradient: Tensor) -> None:
    """v = momentum v + g + decay w;  w -= lr v; v is 0 before the first step of a row."""
    w = parameter.index_select(0, index)  # [r,D]
    step = gradient.add(w, alpha=group["weight_decay"])
    if group["momentum"]:
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"]
        step.add_(buffer.index_select(0, index), alpha=group["momentum"])
        buffer.index_copy_(0, index, step)
    parameter.index_copy_(0, index, w.sub_(step, alpha=group["lr"]))


def _adamw(group: Group, state: dict[str, Tensor], parameter: nn.Parameter, index: Tensor, gradient: Tensor) -> None:
    """m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  w -= lr (decay w + m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps)).

    t counts the steps of each row.
    """
    if "exp_avg" not in state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] = torch.zeros(len(parameter), 1, device=parameter.device)
    (first, second), count = group["betas"], state["step"].index_select(0, index) + 1
    m = state["exp_avg"].index_select(0, index).lerp_(gradient, 1 - first)
    v = state["exp_avg_sq"].index_select(0, index).mul_(second).addcmul_(gradient, gradient, value=1 - second)
    for name, moment in (("step", count), ("exp_avg", m), ("exp_avg_sq", v)):
        state[name].index_copy_(0, index, moment)
    count = count.double()  # 1 - 0.999 has four good digits in float32
    direction = m.div_((1 - first**count).to(m.dtype))
    size = v.div_((1 - second**count).to(v.dtype)).sqrt_().add_(group["eps"])
    w = parameter.index_select(0, index).mul_(1 - group["lr"] * group["weight_decay"])
    parameter.index_copy_(0, index, w.addcdiv_(direction, size, value=-group["lr"]))
