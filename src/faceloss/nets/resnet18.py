"""ResNet-18 with two fully-connected layers, as in a student comparison of losses on face embeddings (96x96 crops).

Trunk: He et al. 2016, "Deep Residual Learning for Image Recognition", table 1, 18 layers, with global average pooling.
Head: fully connected 512 -> ``hidden`` - ReLU - fully connected -> ``dim``.

Our reading: the comparison names the trunk and two fully-connected layers, not the nonlinearity between them.
Deviations: the trunk's 1,000-class layer is gone; weights drawn as in ``draw_weights``.
"""

from torch import nn

from faceloss.nets.net import Net, at_least
from faceloss.nets.residual import BasicBlock


def build(*, dim: int = 128, input_size: int = 96, hidden: int = 512) -> Net:
    """ResNet-18, ``[B,3,input_size,input_size] -> [B,dim]``; ``hidden`` numbers between the two last layers."""
    dim = at_least("dim", dim, 1)
    input_size = at_least("input_size", input_size, 32)
    hidden = at_least("hidden", hidden, 1)
    trunk = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, padding=1),
    )
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        trunk.append(BasicBlock(inputs, outputs, stride))
        trunk.append(BasicBlock(outputs, outputs, 1))
        inputs = outputs
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(inputs, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, dim),
    )
    return Net(trunk, head, input_size=input_size, dim=dim)
