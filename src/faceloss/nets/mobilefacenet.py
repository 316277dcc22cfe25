"""MobileFaceNet: about one million parameters for phones.

Chen et al. 2018, "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices", table 1.
Inverted residual bottlenecks with PReLU; instead of average pooling, a global depthwise convolution lets every position
of the last feature map have its own weight; then a linear 1x1 convolution to the embedding.

Deviations: the kernel of the global depthwise convolution follows ``input_size`` (7x7 at the paper's 112); weights are
drawn as in ``draw_weights``.
"""

import torch
from torch import Tensor, nn

from faceloss.nets.net import Net, at_least, halved
from faceloss.nets.prelu import PReLU

# Expansion, channels, repeats, stride of the first: the bottleneck rows of table 1.
ROWS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution with stride, in float32 on a CPU even where autocast asks for bfloat16.

    There the gradient of just these falls back to a slow kernel: with bfloat16 the three of this network took two
    thirds of the time of all its convolutions (286 of 416 ms a step; 25 ms in float32).
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype)).to(x.dtype)


def convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, linear: bool = False, padding: int = 0
) -> nn.Sequential:
    """Convolution - BN, and PReLU unless ``linear``."""
    kind = StridedDepthwise if groups > 1 and stride > 1 else nn.Conv2d
    layers = nn.Sequential(
        kind(inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )
    return layers if linear else layers.append(PReLU(outputs))


class Bottleneck(nn.Module):
    """Expand by a 1x1 convolution, filter depthwise 3x3, project linearly; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.shortcut = stride == 1 and inputs == outputs
        self.branch = nn.Sequential(
            convolution(inputs, inner, 1),
            convolution(inner, inner, 3, stride=stride, groups=inner, padding=1),
            convolution(inner, outputs, 1, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.branch(x)
        return out + x if self.shortcut else out


def build(*, dim: int = 128, input_size: int = 112) -> Net:
    """MobileFaceNet, ``[B,3,input_size,input_size] -> [B,dim]``."""
    dim = at_least("dim", dim, 1)
    input_size = at_least("input_size", input_size, 32)
    trunk = nn.Sequential(convolution(3, 64, 3, stride=2, padding=1), convolution(64, 64, 3, groups=64, padding=1))
    inputs = 64
    for expansion, outputs, repeats, stride in ROWS:
        for index in range(repeats):
            first = stride if index == 0 else 1
            trunk.append(Bottleneck(inputs, outputs, expansion=expansion, stride=first))
            inputs = outputs
    trunk.append(convolution(inputs, 512, 1))
    side = halved(input_size, 4)
    head = nn.Sequential(
        convolution(512, 512, side, groups=512, linear=True),
        convolution(512, dim, 1, linear=True),
        nn.Flatten(),
    )
    return Net(trunk, head, input_size=input_size, dim=dim)
