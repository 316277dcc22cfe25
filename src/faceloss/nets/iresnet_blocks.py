"""IResNet: the "improved" residual network of the ArcFace paper and its reference code (arcface_torch).

Deng et al. 2019, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", section 3.1 and its code.
A block is BN - conv3x3 - BN - PReLU - conv3x3 (carries the stride) - BN, plus the shortcut, with nothing after the sum.
The stem keeps the full resolution (conv3x3 - BN - PReLU, no pooling); every one of the four stages halves it.
Head: BN - flatten - fully connected - BN without a learned gain.

Deviations: no dropout (the reference code sets it to 0 for these depths), weights drawn as in ``draw_weights``.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from faceloss.nets.net import Net, at_least, halved
from faceloss.nets.prelu import PReLU
from faceloss.nets.residual import shortcut

STAGES = (64, 128, 256, 512)  # channels


class Block(nn.Module):
    """One improved residual block, ``[B,inputs,H,W] -> [B,outputs,H/stride,W/stride]``."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.branch(x) + self.shortcut(x)
        return total


def iresnet(depths: Sequence[int], *, dim: int, input_size: int) -> Net:
    """An IResNet with ``depths[i]`` blocks in stage i; the four stages have 64, 128, 256 and 512 channels."""
    dim = at_least("dim", dim, 1)
    input_size = at_least("input_size", input_size, 32)
    trunk = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), PReLU(64))
    inputs = 64
    for depth, outputs in zip(depths, STAGES, strict=True):
        for index in range(depth):
            trunk.append(Block(inputs, outputs, 2 if index == 0 else 1))
            inputs = outputs
    side = halved(input_size, len(STAGES))
    features = nn.BatchNorm1d(dim)
    features.weight.requires_grad_(False)  # the reference code fixes this gain at 1: the loss sets the scale
    head = nn.Sequential(nn.BatchNorm2d(inputs), nn.Flatten(), nn.Linear(inputs * side * side, dim), features)
    return Net(trunk, head, input_size=input_size, dim=dim)
