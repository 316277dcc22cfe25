"""IResNet-50: see iresnet_blocks for the paper and the deviations."""

from faceloss.nets.iresnet_blocks import iresnet
from faceloss.nets.net import Net


def build(*, dim: int = 128, input_size: int = 112) -> Net:
    """IResNet-50: stages of 3, 4, 14, 3 blocks, [B,3,input_size,input_size] -> [B,dim]."""
    return iresnet((3, 4, 14, 3), dim=dim, input_size=input_size)
