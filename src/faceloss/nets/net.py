"""What all networks share: the check of the input, the float32 head, and how weights are first drawn."""

import torch
from torch import Tensor, nn

from faceloss.errors import BadInput


class Net(nn.Module):
    """``head(trunk(images))``: crops ``[B,3,H,W]``, float, ``(pixels - 127.5) / 127.5``, to raw embeddings ``[B,dim]``.

    Embeddings are float32 and never normalized: a loss that wants unit vectors makes them. Under autocast only the
    trunk runs in the lower precision; eight mantissa bits would round every cosine at about 0.4 %.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, *, input_size: int, dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.input_size = input_size
        self.dim = dim

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings ``[B,dim]``; raises BadInput unless ``images`` is float ``[B,3,input_size,input_size]``."""
        size = self.input_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise BadInput(
                f"This network reads images of shape [batch, 3, {size}, {size}], but was given {list(images.shape)}; "
                f"crop to {size} pixels or build the network with another input_size."
            )
        if not images.is_floating_point():
            raise BadInput(
                f"This network reads floating-point images, but was given {images.dtype}; "
                "convert pixels with (pixels - 127.5) / 127.5."
            )
        features = self.trunk(images)  # [B,C,h,w]
        with torch.autocast(images.device.type, enabled=False):
            embeddings: Tensor = self.head(features.to(self.weight_dtype))  # [B,dim]
        return embeddings

    @property
    def weight_dtype(self) -> torch.dtype:
        """The precision that the weights are kept in (float32 unless the caller converted the network)."""
        return next(self.head.parameters()).dtype


def draw_weights(net: nn.Module, seed: int) -> None:
    """Draw all weights of ``net`` anew from ``seed``.

    Convolutions: normal with variance 2 / fan-in (He et al. 2015, eq. 10); fully-connected: variance 1 / fan-in;
    biases 0; batch norm starts as plain standardization. PReLU keeps the 0.25 of He et al. 2015.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
            with torch.no_grad():
                module.weight.normal_(0.0, (gain / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()


def at_least(what: str, value: float, least: int) -> int:
    """``value`` if it is a whole number not below ``least``; otherwise BadInput."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BadInput(f"{what} must be a whole number of at least {least}, but {value!r} was given.")
    return value


def halved(size: int, times: int) -> int:
    """The side of a feature map after ``times`` stride-2 layers, each padded so that it keeps ceil(side / 2)."""
    for _ in range(times):
        size = (size + 1) // 2
    return size
