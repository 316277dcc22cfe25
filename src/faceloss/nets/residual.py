"""The residual block of ResNet-18, and the shortcut that the other residual networks share with it."""

from torch import Tensor, nn


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity where the shape stays; elsewhere conv1x1 (carries the stride) - BN: option B of He et al. 2016."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """conv3x3 (carries the stride) - BN - ReLU - conv3x3 - BN, plus the shortcut, then ReLU.

    ``[B,inputs,H,W] -> [B,outputs,H/stride,W/stride]``. He et al. 2016, figure 5, left.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.branch(x) + self.shortcut(x)
        return total.relu()
