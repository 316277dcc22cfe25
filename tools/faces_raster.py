"""A small z-buffer rasterizer in NumPy: triangles to pixels, with barycentric coordinates."""

import numpy as np


def rasterize(points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest triangle at every pixel center of a square image.

    points:     [V,2] pixel coordinates (x right, y down; the first pixel's center lies at 0.5, 0.5)
    depth:      [V] smaller is nearer
    triangles:  [T,3] vertex indices, either orientation
    returns     [size,size] triangle index or -1, and [size,size,3] weights of the triangle's corners
    """
    corners = points[triangles]  # [T,3,2]
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5) + 1, 0, size).astype(np.int64)
    wide, tall = np.maximum(high - low, 0).T
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    cells = np.where(np.abs(area) > 1e-9, wide * tall, 0)

    # One row per (triangle, pixel of its bounding box).
    which = np.repeat(np.arange(len(triangles)), cells)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(cells) - cells, cells)
    column = low[which, 0] + offset % np.maximum(wide[which], 1)
    row = low[which, 1] + offset // np.maximum(wide[which], 1)
    center = np.stack([column, row], axis=1) + 0.5
    a, b, c = (corners[which, k] - center for k in range(3))
    weights = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1) / area[which, None]
    inside = (weights >= -1e-9).all(axis=1)
    which, weights, pixel = which[inside], weights[inside], (row * size + column)[inside]
    near = (weights * depth[triangles[which]]).sum(axis=1)

    first = np.lexsort((which, near, pixel))
    pixel = pixel[first]
    first = first[np.flatnonzero(np.diff(pixel, prepend=-1))]
    pixel = (row * size + column)[inside][first]
    hit = np.full(size * size, -1, dtype=np.int64)
    hit[pixel] = which[first]
    mix = np.zeros((size * size, 3))
    mix[pixel] = weights[first]
    return hit.reshape(size, size), mix.reshape(size, size, 3)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals.  # [V,3]"""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    normals = np.stack(
        [sum(np.bincount(triangles[:, k], face[:, axis], len(vertices)) for k in range(3)) for axis in range(3)], axis=1
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex]:
    """The least-squares scale, rotation and shift z -> a z + b that takes source [n,2] to target [n,2]."""
    z, w = source @ (1, 1j), target @ (1, 1j)
    a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
    return complex(a), complex(w.mean() - a * z.mean())


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
