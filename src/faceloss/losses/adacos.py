"""AdaCos: softmax on cosines without margin; the scale is computed from the batch.

    loss = mean of -log( exp(s c_y) / sum_j exp(s c_j) )
    s <- ln(B) / cos(min(pi/4, theta))         before each training step, from s = sqrt(2) ln(K - 1) on
    B = mean over the batch of sum_{j != y} exp(s c_j),  theta = median over the batch of theta_y

c_j [B,K] cosine between embedding and class vector j, both normalized; K number of classes; y [B] label. ``scale``
"dynamic" moves s as above, without gradient; "fixed" keeps its start. Evaluation uses s and does not move it.

Paper: Zhang et al., "AdaCos: Adaptively Scaling Cosine Logits for Effectively Learning Deep Face Representations", CVPR
2019.
Family: softmax.
Batches: shuffled.
Deviations: s is at least 1, which matters for a few classes only: at K = 2 the start is 0. Of an even number of angles
the lower of the two middle ones is the median.
Checked: formula read in public code (4uiiurz1/pytorch-adacos); value and gradient against loops in its test.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead
from faceloss.losses.operations import angle
from faceloss.losses.scores import Scores

SMALLEST = 1.0


class Dynamic(nn.Module):
    """The scale s, moved by the cosines of each training batch."""

    s: Tensor  # 0-d

    def __init__(self, start: float):
        super().__init__()
        self.register_buffer("s", torch.tensor(start))

    def forward(self, cos: Tensor, cosines: Scores) -> Tensor:
        if self.training:
            theta = angle(cos).median().clamp_max(math.pi / 4)
            each = cosines.read(lambda block: self.s * block).log_sum_exp  # [B]
            average = each.logsumexp(0) - math.log(len(each))  # ln B
            self.s.copy_((average / theta.cos()).clamp_min(SMALLEST))
        return self.s.clone()


def build(dim: int, classes: int, *, scale: Literal["dynamic", "fixed"] = "dynamic") -> Loss:
    """``scale``: see above."""
    start = max(math.sqrt(2) * math.log(max(classes - 1, 1)), SMALLEST)
    return ClassHead(dim, classes, scale=Dynamic(start) if scale == "dynamic" else Number(start, above=0))
