"""The rasterizer against a loop over triangles and pixels."""

import numpy as np
import pytest

from faceloss.data.generated.raster import rasterize, vertex_normals


def slow(points: np.ndarray, depth: np.ndarray, triangles: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest triangle [size,size], -1 for none, and its depth, pixel by pixel."""
    hit, nearest = np.full((size, size), -1), np.full((size, size), np.inf)
    row, column = np.mgrid[:size, :size] + 0.5
    for number, corners in enumerate(triangles):
        (ax, ay), (bx, by), (cx, cy) = points[corners]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        first = ((bx - column) * (cy - row) - (by - row) * (cx - column)) / area
        second = ((cx - column) * (ay - row) - (cy - row) * (ax - column)) / area
        third = 1 - first - second
        near = first * depth[corners[0]] + second * depth[corners[1]] + third * depth[corners[2]]
        won = (np.minimum(np.minimum(first, second), third) >= -1e-9) & (near < nearest)
        hit[won], nearest[won] = number, near[won]
    return hit, nearest


@pytest.mark.parametrize("spread", [2.0, 6.0, 40.0])
def test_the_nearest_triangle_is_seen(spread):
    """Triangles of all sizes, both orientations, also beyond the border."""
    random, size = np.random.default_rng(int(spread)), 40
    middles = random.uniform(-4, size + 4, (150, 1, 2))
    points = (middles + random.normal(0, spread, (150, 3, 2))).reshape(-1, 2)
    depth, triangles = random.uniform(1, 2, len(points)), np.arange(len(points)).reshape(-1, 3)
    hit, nearest = slow(points, depth, triangles, size)
    assert (hit >= 0).mean() > 0.2
    hits = rasterize(points, depth, triangles, size)
    found = np.full(size * size, -1)
    found[hits.pixel] = hits.triangle
    np.testing.assert_array_equal(found.reshape(size, size), hit)
    np.testing.assert_allclose(hits.depth, nearest[hit >= 0], atol=1e-12)
    np.testing.assert_allclose(hits.weights.sum(axis=1), 1, atol=1e-12)
    centers = np.stack([hits.pixel % size, hits.pixel // size], axis=1) + 0.5
    np.testing.assert_allclose(
        np.einsum("pk,pkc->pc", hits.weights, points[triangles[hits.triangle]]), centers, atol=1e-9
    )


def test_what_lies_behind_is_left_out_only_where_nothing_of_it_shows():
    """Two large triangles in front with a gap, and small ones that look away behind: the gap shows them."""
    random, size = np.random.default_rng(3), 48
    front = np.array([[-50, -50], [20, 20], [-50, 90], [90, -50], [26, 20.0], [90, 90]])[[0, 2, 1, 3, 4, 5]]
    small = random.uniform(0, size, (300, 1, 2)) + np.array([[[0, 0], [2.5, 0], [0, 2.5]]])
    points = np.concatenate([front, small.reshape(-1, 2)])
    depth = np.concatenate([np.ones(6), random.uniform(2, 3, 900)])
    triangles = np.arange(len(points)).reshape(-1, 3)
    a, b, c = (points[triangles[:, k]] for k in range(3))
    away = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] > 0
    assert away.tolist() == [False, False] + [True] * 300
    hit, _ = slow(points, depth, triangles, size)
    assert (hit >= 2).sum() > 30
    assert ((hit >= 0) & (hit < 2)).sum() > 300
    hits = rasterize(points, depth, triangles, size)
    found = np.full(size * size, -1)
    found[hits.pixel] = hits.triangle
    np.testing.assert_array_equal(found.reshape(size, size), hit)


def test_of_equally_near_triangles_the_first_is_seen():
    points = np.array([[1.0, 1], [1, 9], [9, 1]])
    hits = rasterize(points, np.ones(3), np.array([[0, 1, 2], [1, 2, 0], [0, 1, 2]]), 12)
    assert len(hits.pixel) > 20
    assert set(hits.triangle) == {0}


def test_normals_point_out_of_a_ball(arrays):
    ball = arrays.triangles[: len(arrays.triangles) // 3]
    count = ball.max() + 1
    away = arrays.reference[:count] - (0, 0.085, -0.03)
    cosine = (vertex_normals(arrays.reference[:count], ball) * away).sum(axis=1) / np.linalg.norm(away, axis=1)
    assert (cosine > 0.99).mean() > 0.95  # all but those that meet at a pole
