"""The matrix product a b' by the library that is fastest at it, which for float32 is not always that of ``torch.mm``.

For float32 ``torch.mm`` asks MKL, which on processors that are not Intel's makes no use of AVX-512: 107 GFLOP/s on one
core of an AMD EPYC on which oneDNN, in every torch for x86, reaches 245. Both sum in float32; the order of the
sums differs, and with it the last digits.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

LEAST = 2**23  # operations; below, the call itself costs more than it saves


def inner(a: Tensor, b: Tensor, shift: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """a b' + shift [m,n] of a [m,k], b [n,k], shift [n], without gradient; in the memory of ``out`` or in its own."""
    if _by_onednn(a, b):
        found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, shift, "none", [], "")
        return found
    if shift is None:
        return torch.mm(a, b.T, out=out)
    return torch.addmm(shift, a, b.T, out=out)


def add_inner(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b', in place; a product in bfloat16 is rounded to it before it is added to a wider total."""
    if a.dtype == total.dtype and not _by_onednn(a, b):
        total.addmm_(a, b.T)
    else:
        total += inner(a, b)


def differentiable_inner(a: Tensor, b: Tensor) -> Tensor:
    """a b' [m,n] of a [m,k] and b [n,k], with gradients of every order."""
    if torch.is_autocast_enabled(a.device.type) or not _by_onednn(a, b):
        return a @ b.T
    value: Tensor = _Inner.apply(a, b)  # type: ignore[no-untyped-call]
    return value


class _Inner(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return inner(a, b)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        return (
            differentiable_inner(slope, b.T) if ctx.needs_input_grad[0] else None,
            differentiable_inner(slope.T, a.T) if ctx.needs_input_grad[1] else None,
        )


def _by_onednn(a: Tensor, b: Tensor) -> bool:
    return (
        a.dtype == torch.float32
        and a.device.type == "cpu"
        and 2 * a.shape[0] * a.shape[1] * b.shape[0] >= LEAST
        and bool(torch.backends.mkldnn.enabled)
        and _at_hand()
    )


@cache
def _at_hand() -> bool:
    """Whether this processor has AVX-512 and torch the operation, which is not in its documentation."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    a, b = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(4, 3)
    try:
        found = torch.ops.mkldnn._linear_pointwise(a, b, torch.ones(4), "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(found, a @ b.T + 1)
