"""Mine: softmax on cosines with a margin.

    loss = mean of -log softmax(s (c - m at the target))[y]

c [B,K] cosines, s = 10, m margin, y [B] label.

Paper: none; made up for a test, 2026.
Batches: shuffled.
Deviations: none.
Family: margin.
Checked: nothing; it is a test.
"""

from faceloss.losses.core import Loss, Number
from faceloss.losses.heads import ClassHead


def psi(cos, m):
    return cos - m


def build(dim: int, classes: int, *, m: float = 0.1) -> Loss:
    return ClassHead(dim, classes, scale=Number(10.0), psi=psi, hyperparameters={"m": Number(m, low=0)})
