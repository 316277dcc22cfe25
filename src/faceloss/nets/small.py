"""The small residual network that trains on a laptop's processor in minutes (our own design, 64x64 crops).

Layers at full resolution would dominate the cost, so the stem halves the crop at once and each stage halves it again
while doubling the channels. ReLU instead of the field's PReLU: on a processor the PReLU version trains a fifth slower.
"""

from torch import nn

from faceloss.errors import BadInput
from faceloss.nets.net import Net, at_least, halved
from faceloss.nets.residual import BasicBlock


def build(*, dim: int = 128, input_size: int = 64, width: int = 32, blocks: int = 1, dropout: float = 0.0) -> Net:
    """The small network, ``[B,3,input_size,input_size] -> [B,dim]``.

    ``width`` is the channels after the stem, doubled by each of the three stages; each stage has ``blocks`` blocks.
    Head: flatten - dropout - fully connected - BN, so that every position of the last feature map has its own weights.
    ``dropout``, in [0, 1), is the share of features set to zero in training.
    """
    dim = at_least("dim", dim, 1)
    input_size = at_least("input_size", input_size, 16)
    width = at_least("width", width, 1)
    blocks = at_least("blocks", blocks, 1)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise BadInput(f"dropout must be a number from 0 to below 1, but {dropout!r} was given.")
    trunk = nn.Sequential(
        nn.Conv2d(3, width, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
    inputs = width
    for _ in range(3):
        for index in range(blocks):
            outputs = inputs * 2 if index == 0 else inputs
            trunk.append(BasicBlock(inputs, outputs, 2 if index == 0 else 1))
            inputs = outputs
    side = halved(input_size, 4)
    head = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(inputs * side * side, dim, bias=False),  # the BN would cancel a bias
        nn.BatchNorm1d(dim),
    )
    return Net(trunk, head, input_size=input_size, dim=dim)
