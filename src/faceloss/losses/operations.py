"""The small mathematics that losses share: every value *and gradient* is finite for every finite input.

All functions keep the type they are given (float32 or float64). The floors below are values at which float32 cannot
tell the input from the edge anyway, so they change no number of interest.
"""

import torch
from torch import Tensor

SMALLEST_NORM = 1e-12  # a vector shorter than this has no direction
SMALLEST_SINE_SQUARED = 1e-12  # float32 has no cosine other than 1 with a smaller one


def normalize(vectors: Tensor) -> Tensor:
    """Unit vectors along the last axis, x / ||x||; a zero vector stays zero and passes no gradient.

    >>> normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    squared = vectors.square().sum(-1, keepdim=True)
    directed = squared > SMALLEST_NORM**2
    # The inner where keeps 1/0 out of the branch that is not taken: its gradient would be 0 * inf = NaN.
    return vectors * torch.where(directed, torch.where(directed, squared, 1.0).rsqrt(), 0.0)


def sine(cos: Tensor) -> Tensor:
    """sin(theta) >= 0 from cos(theta), theta in [0, pi]; the derivative at cos = +-1 (and beyond, by rounding) is 0."""
    return ((1 - cos) * (1 + cos)).clamp_min(SMALLEST_SINE_SQUARED).sqrt()


def angle(cos: Tensor) -> Tensor:
    """theta in [0, pi] from cos(theta), in radians; unlike acos, precise and of finite slope at cos = +-1."""
    return torch.atan2(sine(cos), cos)


def add_angle(cos: Tensor, m: Tensor) -> Tensor:
    """cos(theta + m) from cos(theta), by the addition theorem; m is in radians, 0-d or of the shape of ``cos``."""
    return cos * torch.cos(m) - sine(cos) * torch.sin(m)


def falling_cos(angle: Tensor) -> Tensor:
    """cos on [0, pi], continued downwards: (-1)^k cos(angle) - 2k on [k pi, (k+1) pi]; falling, without a jump.

    >>> falling_cos(torch.tensor([0.0, torch.pi, 1.5 * torch.pi, 2 * torch.pi])).round(decimals=3).tolist()
    [1.0, -1.0, -2.0, -3.0]
    """
    turns = (angle.detach() / torch.pi).floor()
    return (1 - 2 * turns.remainder(2)) * torch.cos(angle) - 2 * turns


def cross_entropy(target: Tensor, others: Tensor) -> Tensor:
    """-log softmax of the target from its logit and R = log sum over the other classes of exp(logit): [B] -> [B].

    Equal to softplus(R - target), without the threshold at which softplus turns linear.
    """
    return -torch.nn.functional.logsigmoid(target - others)
