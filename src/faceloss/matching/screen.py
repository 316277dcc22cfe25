"""Products of blocks, coarse and fast or fine and slow, each with a bound on how far it may be off.

A side of a product holds its vectors as int8, bfloat16, float32 or float64 numbers. With X = a q the stored vector of
x, and e_x = |x - X| its measured residual, Cauchy and Schwarz give

    |x.y - X.Y| = |(x - X).y + X.(y - Y)| <= e_x |y| + |X| e_y            (for unit vectors e_x + (1 + e_x) e_y)

and the product of X and Y itself is exact in int32 for int8, within ``ROUNDING`` |X| |Y| otherwise. So a pair whose
coarse product stays below a limit minus this bound is surely below the limit, one above limit plus bound surely above,
and only those between are looked at again. No distribution is assumed: vectors that quantize badly have long residuals,
and more of their pairs are looked at again.

One scale ``a`` serves all vectors of a side, so that an int8 block is compared as it is, in whole numbers. Where single
coordinates stand out, all vectors are first turned by Hadamard matrices of 64 x 64, which keep every inner product and
spread each coordinate over 64.
"""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("int8", "bfloat16", "float32")
GROUP = 64  # columns that are looked over together; sides are padded to a multiple of it in both directions
FEW = 1 / 100  # share of a block that is cheaper scored pair by pair than by the next finer product
CHUNK = 384  # vectors quantized at a time: they and a buffer of their size stay in a processor's cache
TURNED = 2.0**-20  # error of the Hadamard turn: six sums, each rounded once


class Side(NamedTuple):
    """Vectors on one side of a product, padded with zeros."""

    kind: str  # int8 | bfloat16 | float32 | float64
    values: Tensor  # [n,d]; float64 is kept as float32 and converted block by block
    scale: float  # X = scale * values
    turned: bool
    size: Tensor  # [n] float64 |x|
    length: Tensor  # [n] float64 |X|
    residual: Tensor  # [n] float64, at least |x - X|

    def part(self, rows: slice) -> "Side":
        return self._replace(
            values=self.values[rows], size=self.size[rows], length=self.length[rows], residual=self.residual[rows]
        )

    def to(self, device: str) -> "Side":
        values, size, length, residual = (
            part.to(device) for part in (self.values, self.size, self.length, self.residual)
        )
        return self._replace(values=values, size=size, length=length, residual=residual)

    def block(self, right: "Side") -> Tensor:
        """Room for a product with ``right``."""
        dtype = torch.int32 if self.kind == "int8" else self.values.dtype
        return torch.empty(len(self.values), len(right.values), dtype=dtype, device=self.values.device)


def rounding(kind: str, dim: int) -> float:
    """Bound on the error of a product, as a share of |X| |Y|."""
    if kind == "int8":
        return 1e-12
    if kind == "float64":
        return (dim + 2) * 2.0**-52
    sums = (dim + 2) * 2.0**-23  # of float32, in whatever order and with whatever fused steps
    if torch.get_float32_matmul_precision() != "highest" or torch.backends.cuda.matmul.allow_tf32:
        sums += 2.0**-6  # somebody allowed shorter numbers inside float32 products
    return sums + (2.0**-8 if kind == "bfloat16" else 0)  # the result itself is rounded to 8 bits


def turn(vectors: Tensor) -> Tensor:
    """Each block of 64 coordinates times a Hadamard matrix: an orthogonal map, sums and differences only. [n,d]"""
    n, d = vectors.shape
    half, out = 1, vectors
    while half < GROUP:
        pairs = out.reshape(n, -1, 2, half)
        out = torch.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2)
        half *= 2
    return out.reshape(n, d) / 8


def _quantize(vectors: Tensor, scale: float, whole: Tensor) -> Tensor:
    """The whole numbers q nearest to ``vectors`` / scale, in -127 .. 127, into ``whole`` [n,d] of any type; returns
    |x - scale q| [n], short of it by 2^-23 |x| at most, which is how the product and the difference are rounded."""
    buffer = vectors * (1 / scale)
    whole.copy_(buffer.round_().clamp_(-127, 127))
    off: Tensor = torch.linalg.vector_norm(torch.sub(vectors, buffer, alpha=scale, out=buffer), dim=1)
    return off


def best_scale(
    vectors: Tensor, turns: tuple[bool, ...] = (False, True), levels: tuple[float, ...] = (0.5, 0.9, 1.0)
) -> tuple[float, bool]:
    """The int8 scale that leaves the shortest residuals, and whether to turn the vectors first; from 1,024 of them.

    127 steps reach the largest coordinate of a share of the vectors that is one of ``levels``; others are clipped."""
    some = vectors[:: max(1, len(vectors) // 1024)][:1024]
    some = torch.nn.functional.pad(some, (0, -some.shape[1] % GROUP))
    found = []
    for turned in turns:
        looked = turn(some) if turned else some
        peaks = looked.abs().amax(1)
        for level in levels:
            scale = float(torch.quantile(peaks, level)) / 127
            if scale > 0:
                # Turning has its price, so it must gain a third.
                cost = float(_quantize(looked, scale, torch.empty_like(looked)).mean()) * (1.5 if turned else 1)
                found.append((cost, scale, turned))
    return min(found)[1:] if found else (1.0, turns[0])


def side(kind: str, vectors: Tensor, scaled: tuple[float, bool] | None = None, size: Tensor | None = None) -> Side:
    """The side of ``vectors`` [N,D] float32; ``scaled`` gives (scale, turned) of int8 instead of looking for the best,
    ``size`` the norms of float32 or float64.

    Both sides of a product must be turned, or neither.
    """
    n, d = vectors.shape
    rows, width = n + -n % GROUP, d + -d % GROUP
    if kind in ("float32", "float64"):
        values = torch.nn.functional.pad(vectors, (0, width - d, 0, rows - n)) if (rows, width) != (n, d) else vectors
        if size is None:
            size = torch.linalg.vector_norm(values, dim=1).double() * swell(d)
        return Side(kind, values, 1.0, False, size, size, torch.zeros_like(size))
    scale, turned = (1.0, False) if kind == "bfloat16" else scaled or best_scale(vectors)
    values = torch.empty(rows, width, dtype=getattr(torch, kind), device=vectors.device)
    values[n:], values[:, d:] = 0, 0
    size, residual = (torch.zeros(rows, device=vectors.device) for _ in range(2))
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        x = torch.nn.functional.pad(vectors[part], (0, width - d)) if width != d else vectors[part]
        size[part] = torch.linalg.vector_norm(x, dim=1)
        if kind == "bfloat16":
            values[part] = x.bfloat16()
            residual[part] = torch.linalg.vector_norm(x - values[part].float(), dim=1)
        else:
            residual[part] = _quantize(turn(x) if turned else x, scale, values[part])
    size = size.double() * swell(d)
    residual = residual.double() * swell(d) + size * (TURNED if turned else 2.0**-22)
    return Side(kind, values, scale, turned, size, size + residual, residual)


def swell(dim: int) -> float:
    """A norm summed in float32, times this, is at least the norm."""
    return 1 + (dim + 2) * 2.0**-23


class Screened(NamedTuple):
    """A side, and the vectors that it stands for."""

    side: Side
    origin: Tensor  # [n] row of ``vectors`` behind each row of the side; -1 for padding
    vectors: Tensor  # [N,D] float32
    straight: bool  # the origin only counts up

    def part(self, rows: slice) -> "Screened":
        return self._replace(side=self.side.part(rows), origin=self.origin[rows])

    def finer(self, kind: str) -> Side:
        """The same rows in ``kind``."""
        first = int(self.origin[0])
        if self.straight and first + len(self.origin) <= len(self.vectors):
            rows = self.vectors[first : first + len(self.origin)]
        else:
            rows = self.vectors[self.origin.clamp(min=0)]
        return side(kind, rows, size=self.side.size)


def screened(kind: str, vectors: Tensor, scaled: tuple[float, bool] | None = None, *, sort: bool = True) -> Screened:
    """``vectors`` [N,D] float32; ``sort`` puts those with long residuals last, so that the others' groups are not
    judged by them. It pays where many rows meet them."""
    made = side(kind, vectors, scaled)
    n = len(vectors)
    order = torch.arange(n, device=vectors.device)
    straight = not sort or kind in ("float32", "float64")
    if not straight:
        order = torch.argsort(made.residual[:n], stable=True)
        made.values[:n] = made.values[:n][order]
        for column in (made.size, made.length, made.residual):
            column[:n] = column[:n][order]
    return Screened(made, torch.nn.functional.pad(order, (0, len(made.values) - n), value=-1), vectors, straight)


def product(left: Side, right: Side, out: Tensor | None = None) -> Tensor:
    """[n,m] of the values of both sides; int32 where they are int8. ``out`` is used where it fits."""
    x, y = left.values, right.values
    shape = (len(x), len(y))
    if left.kind == "float64":
        return x.double() @ y.double().T
    if out is None or out.shape != shape:
        return torch._int_mm(x, y.T) if left.kind == "int8" else x @ y.T
    return torch._int_mm(x, y.T, out=out) if left.kind == "int8" else torch.mm(x, y.T, out=out)


def bound(left: Side, right: Side) -> Tensor:
    """[n,m/64] float64: how far scale * scale * product may be from the inner products, for each row of ``left`` and
    each group of 64 columns; [n,1] where all groups are alike."""
    far = rounding(left.kind, left.values.shape[1])
    size, length = float(right.size.max()), float(right.length.max())
    longest = right.residual.view(-1, GROUP).amax(1)  # [m/64]
    peak = longest.max()
    if bool(peak <= 1.1 * longest.min()):
        longest = peak[None]
    return torch.addr((left.residual * size)[:, None], left.length, longest + far * length)


def limits(left: Side, right: Side, floor: Tensor) -> tuple[Tensor, Tensor]:
    """[n,m/64] or [n,1] each: a product below the first is surely below ``floor`` [n] (real inner products), one at or
    above the second surely at or above it."""
    off, unit = bound(left, right), left.scale * right.scale
    beyond = 4 * left.size.max() * right.size.max()  # no product and no bound is so large
    floor = torch.minimum(torch.maximum(floor, -beyond), beyond)[:, None]
    low, high = (floor - off).div_(unit), (floor + off).div_(unit)
    if left.kind == "int8":
        return low.ceil_().to(torch.int32), high.ceil_().to(torch.int32)
    if left.kind == "float64":
        return low, high
    down, up = (torch.full_like(low, sign * torch.inf, dtype=torch.float32) for sign in (-1, 1))
    return torch.nextafter(low.float(), down), torch.nextafter(high.float(), up)


def reaching(block: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of every number of ``block`` [n,m] that is at least the limit [n,m/64] of its group of columns; a
    group's largest number is looked at first."""
    groups = block.view(len(block), -1, GROUP)  # [n,m/64,64]
    limit = limit.expand(groups.shape[:2])
    row, group = (groups.amax(2) >= limit).nonzero(as_tuple=True)
    which, offset = (groups[row, group] >= limit[row, group, None]).nonzero(as_tuple=True)
    return row[which], group[which] * GROUP + offset


def candidates(
    left: Screened,
    right: Screened,
    floor: Tensor,
    allowed: Callable[[Tensor, Tensor], Tensor],
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Row and column of every allowed pair of a block whose inner product may reach ``floor`` [n].

    Where a coarse product leaves many, the block is computed again in float32 and at last in float64.
    ``allowed(row, column)`` says which pairs count.
    """
    x, y = left.side, right.side
    for finer in ("float32", "float64", ""):
        block = product(x, y, out)
        row, column = reaching(block, limits(x, y, floor)[0])
        keep = allowed(row, column)
        row, column = row[keep], column[keep]
        if len(row) <= FEW * block.numel() or not finer:
            break
        if x.kind != finer:
            x, y, out = left.finer(finer), right.finer(finer), None
    return row, column


@functools.cache
def rates(dim: int, device: str = "cpu") -> dict[str, float]:
    """Seconds per pair of each kind of product on this machine, the best of three blocks of 512 x 2048."""
    taken = {}
    clock = time.process_time if device == "cpu" else time.perf_counter  # other work on the machine does not count
    vectors = torch.randn(2048, dim, generator=torch.Generator().manual_seed(0)).to(device)
    for kind in KINDS:
        if kind == "bfloat16" and device != "cpu":
            continue  # a GPU may add in bfloat16, which has no such bound
        try:
            one = side(kind, vectors)
            block = product(one.part(slice(0, 512)), one)
            seconds = []
            for _ in range(3):
                start = clock()
                product(one.part(slice(0, 512)), one, block)[0, 0].item()
                seconds.append(clock() - start)
            taken[kind] = min(seconds) / block.numel()
        except RuntimeError:
            continue  # this build of torch, or this machine, cannot
    return taken


def fastest(dim: int, device: str = "cpu") -> str:
    """The kind of product that is soonest done here."""
    taken = rates(dim, device)
    return min(taken, key=taken.__getitem__)
