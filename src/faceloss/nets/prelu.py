"""PReLU with a gradient that a CPU computes in whole vectors; PyTorch's own goes number by number there.

He et al. 2015, "Delving Deep into Rectifiers", equations 1, 10 and 11.
"""

from typing import Any

import torch
from torch import Tensor, nn


class PReLU(nn.PReLU):
    """max(x, 0) + slope_c min(x, 0), one learnt slope per channel: ``[B,C,H,W] -> [B,C,H,W]``, first 0.25.

    The same numbers and weights as ``torch.nn.PReLU``, whose gradient on a CPU was 40 % of a training step of
    MobileFaceNet and 21 % of IResNet-18's; this one takes a third of the time in float32 and a fifth in bfloat16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        out: Tensor = _PReLU.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return out


class _PReLU(torch.autograd.Function):
    """dx = g where x > 0, slope g elsewhere; dslope_c = sum of g min(x, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return torch.prelu(x, slope.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(gradient, x, 0)  # g where x > 0, else 0
        below = gradient - above  # exactly the rest: 0 where x > 0
        of_slope = (below * x).sum((0, 2, 3), dtype=slope.dtype)
        return above.addcmul_(below, slope.to(x.dtype)[:, None, None]), of_slope
