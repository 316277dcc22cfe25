"""The score of a pair, once and for all: the same number in every block, process and library, on every device.

    score(a, b) = float32( sum_d a_d b_d ),  the products exact, the sum in float64 by halves

Two float32 numbers multiply without an error in float64 (24 + 24 bits into 53). The sum adds the upper half of the
vector to the lower half until one number is left: additions element by element, whose order nobody may change. So the
score does not depend on what it is computed with, and it is the cosine of two unit vectors to the last bit of float32
but for cases nearer than 1e-13 to the middle between two such numbers. A float32 matrix product is not like that: its
last bits change with the block, the library and the number of threads.
"""

import torch
from torch import Tensor

CHUNK = 512  # pairs at a time: 2 MiB of products with 512 dimensions


def scores(first: Tensor, second: Tensor) -> Tensor:
    """[M] float32 inner products of the rows of ``first`` and ``second`` [M,D] float32."""
    products = first.double() * second.double()  # [M,D]
    width = products.shape[1]
    while width > 1:
        half = (width + 1) // 2
        products[:, : width - half] += products[:, half:width]
        width = half
    return products[:, 0].float()


def pair_scores(left: Tensor, row: Tensor, right: Tensor, column: Tensor) -> Tensor:
    """[M] scores of the pairs (left[row], right[column]); ``left`` [N,D], ``right`` [K,D] float32."""
    found = torch.empty(len(row), device=left.device)
    for start in range(0, len(row), CHUNK):
        part = slice(start, start + CHUNK)
        found[part] = scores(left[row[part]], right[column[part]].to(left.device))
    return found


def least(bar: Tensor) -> Tensor:
    """The smallest real number that may round to a score of ``bar`` (float32) or more, in float64: half a step below
    it."""
    below = torch.nextafter(bar, torch.full_like(bar, -torch.inf))
    return torch.where(torch.isinf(bar), bar.double(), (bar.double() + below.double()) / 2)
