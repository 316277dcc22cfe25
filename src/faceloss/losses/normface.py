"""NormFace: softmax on cosines, with a scale that is learnt.

    loss = mean of -log( exp(s c_y) / sum_j exp(s c_j) )

c_j [B,K] cosine between embedding and class vector j, both normalized; s > 0.01 one learnt number that starts at the
hyperparameter ``s``; y [B] label.

Paper: Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification", ACM MM 2017, eq. 4 (start and floor of s
from its released settings).
Family: softmax.
Batches: shuffled.
Deviations: s = 0.01 + exp(v) with v learnt, which keeps s positive whatever the step; the released code learns s itself
with a floor of 0.01. s is not decayed, as there; class vectors follow the recipe of the comparison, where the release
multiplies their learning rate by 100 and does not decay them. The release is meant for fine-tuning, here it trains from
scratch.
Checked: formula read in its released code (happynear/NormFace); value and gradient against loops in its test; value and
gradient against pytorch-metric-learning 2.9.
"""

from faceloss.losses.core import Loss
from faceloss.losses.heads import ClassHead, Learnt

FLOOR = 0.01


def build(dim: int, classes: int, *, s: float = 10.0) -> Loss:
    """``s``: the scale at the start, above 0.01."""
    return ClassHead(dim, classes, scale=Learnt(s, floor=FLOOR))
