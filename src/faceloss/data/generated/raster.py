"""A small z-buffer rasterizer in NumPy: triangles to pixels, with barycentric coordinates."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

INSIDE = -1e-9  # smallest weight of a pixel inside a triangle: pixels on a shared edge belong to both
SIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # of the boxes that are looked at together
CELLS = 1 << 17  # pixels of boxes looked at in one go; small enough for the processor's cache


class Hits(NamedTuple):
    """The nearest triangle at every pixel center that has one; P such pixels, in order."""

    pixel: Integers  # [P] row * size + column
    triangle: Integers  # [P]
    weights: Floats  # [P,3] of the triangle's corners
    depth: Floats  # [P]


def rasterize(points: Floats, depth: Floats, triangles: Integers, size: int) -> Hits:
    """The nearest triangle at every pixel center of a square image; of equally near ones the first.

    points:     [V,2] pixel coordinates (x right, y down; the first pixel's center lies at 0.5, 0.5)
    depth:      [V] smaller is nearer
    triangles:  [T,3] vertex indices, either orientation

    Weights are affine in the pixel: w_k = w_k(first pixel of the box) + dx w_k,x + dy w_k,y. So all boxes of one side
    are a [boxes,side,side] array, and no list of pixels is needed before it is known which lie inside.
    """
    shown = _Shown(points, depth, triangles, size)
    buffer = np.full(size * size, np.inf)
    facing = shown.area < 0  # y runs down
    found = [shown.fill(np.flatnonzero(facing & shown.some), buffer)]
    # What looks away is mostly behind what was just drawn. Nothing of it is left out that any pixel could show.
    rest = np.flatnonzero(~facing & shown.some)
    found.append(shown.fill(rest[~shown.hidden(rest, buffer)], buffer))
    which, pixel, first, second, near = (np.concatenate(parts) for parts in zip(*found, strict=True))

    kept = np.flatnonzero(near == buffer[pixel])
    winner = np.full(size * size, len(triangles))
    np.minimum.at(winner, pixel[kept], which[kept])
    kept = kept[which[kept] == winner[pixel[kept]]]
    kept = kept[np.argsort(pixel[kept])]
    weights = np.stack([first[kept], second[kept], 1 - first[kept] - second[kept]], axis=1)
    return Hits(pixel[kept], which[kept], weights, near[kept])


class _Shown:
    """The triangles as the rasterizer needs them: boxes, weights at the first pixel of each, and their slopes."""

    def __init__(self, points: Floats, depth: Floats, triangles: Integers, size: int):
        self.size = size
        self.depth = depth[triangles.T]  # [3,T]
        axes = [points[:, axis][triangles.T] for axis in (0, 1)]
        (ax, bx, cx), (ay, by, cy) = axes
        low = [np.clip(np.ceil(axis.min(axis=0) - 0.5), 0, size) for axis in axes]
        high = [np.clip(np.floor(axis.max(axis=0) - 0.5) + 1, 0, size) for axis in axes]
        self.left, self.top = (first.astype(np.int64) for first in low)
        self.wide, self.tall = (np.maximum(b - a, 0).astype(np.int64) for a, b in zip(low, high, strict=True))
        self.area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        self.some = (np.abs(self.area) > 1e-9) & (self.wide * self.tall > 0)
        x, y, area = low[0] + 0.5, low[1] + 0.5, np.where(self.some, self.area, 1.0)
        self.first = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        self.second = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        self.first_x, self.first_y = (by - cy) / area, (cx - bx) / area
        self.second_x, self.second_y = (cy - ay) / area, (ax - cx) / area

    def fill(self, which: Integers, buffer: Floats) -> tuple[npt.NDArray[np.generic], ...]:
        """Triangle, pixel, two weights and depth of all these triangles cover; ``buffer`` gets the nearest depth."""
        parts = list(self._covered(which))
        if not parts:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0)
        owner, pixel, first, second = (np.concatenate(part) for part in zip(*parts, strict=True))
        near = first * self.depth[0][owner] + second * self.depth[1][owner]
        near += (1 - first - second) * self.depth[2][owner]
        np.minimum.at(buffer, pixel, near)
        return owner, pixel, first, second, near

    def _covered(self, which: Integers) -> Iterator[tuple[Integers, Integers, Floats, Floats]]:
        largest = np.maximum(self.wide, self.tall)[which]
        below = 0
        for side in (*(side for side in SIDES if side < self.size), self.size):
            group = which[(largest > below) & (largest <= side)]
            below = side
            step = max(1, CELLS // side**2)
            for start in range(0, len(group), step):
                yield self._boxes(group[start : start + step], side)

    def _boxes(self, chosen: Integers, side: int) -> tuple[Integers, Integers, Floats, Floats]:
        right, down = np.arange(side, dtype=np.float64), np.arange(side, dtype=np.float64)[:, None]
        at = (chosen, None, None)
        first = (self.first[at] + self.first_y[at] * down) + self.first_x[at] * right  # [boxes,side,side]
        second = (self.second[at] + self.second_y[at] * down) + self.second_x[at] * right
        inside = (first >= INSIDE) & (second >= INSIDE) & (first + second <= 1 - INSIDE)
        cell = np.flatnonzero(inside)
        owner, cell_in_box = np.divmod(cell, side * side)
        row, column = np.divmod(cell_in_box, side)
        owner = chosen[owner]
        row, column = row + self.top[owner], column + self.left[owner]
        first, second = first.ravel()[cell], second.ravel()[cell]
        if ((row >= self.size) | (column >= self.size)).any():  # a box at the border reaches beyond it
            kept = (row < self.size) & (column < self.size)
            owner, row, column, first, second = (a[kept] for a in (owner, row, column, first, second))
        return owner, row * self.size + column, first, second

    def hidden(self, which: Integers, buffer: Floats) -> npt.NDArray[np.bool_]:
        """Whether all pixels of a triangle's box have something nearer already; not said of boxes over 8 pixels."""
        farthest = buffer.reshape(self.size, self.size)
        levels = [farthest]
        for shift in (1, 2, 4):  # the farthest of 2 x 2, 4 x 4, 8 x 8 pixels from each on
            grown = levels[-1].copy()
            for axis in (0, 1):
                ahead = [slice(None), slice(None)]
                behind = [slice(None), slice(None)]
                ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
                grown[tuple(behind)] = np.maximum(grown[tuple(behind)], grown[tuple(ahead)])
            levels.append(grown)
        largest = np.maximum(self.wide, self.tall)[which]
        level = np.searchsorted([1, 2, 4, 8], largest)
        farthest = np.stack(levels)[np.minimum(level, 3), self.top[which], self.left[which]]
        found: npt.NDArray[np.bool_] = self.depth[:, which].min(axis=0) > farthest + 1e-6  # a margin for rounding
        found[level == 4] = False
        return found


def vertex_normals(vertices: Floats, triangles: Integers) -> Floats:
    """Area-weighted unit normals.  # [V,3]"""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (vertices.T[:, corner] for corner in triangles.T)
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    faces = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    flat, count = triangles.T.ravel(), len(vertices)
    normals = np.stack([np.bincount(flat, np.tile(face, 3), count) for face in faces], axis=1)
    unit: Floats = normals / np.maximum(np.sqrt((normals**2).sum(axis=1, keepdims=True)), 1e-12)
    return unit
