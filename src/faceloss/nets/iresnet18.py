"""IResNet-18: see iresnet_blocks for the paper and the deviations."""

from faceloss.nets.iresnet_blocks import iresnet
from faceloss.nets.net import Net


def build(*, dim: int = 128, input_size: int = 112) -> Net:
    """IResNet-18: stages of 2, 2, 2, 2 blocks, [B,3,input_size,input_size] -> [B,dim]."""
    return iresnet((2, 2, 2, 2), dim=dim, input_size=input_size)
