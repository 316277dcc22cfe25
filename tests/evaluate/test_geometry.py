"""The plane of a map: distances that are there, the share that is told, and signs that nothing arbitrary decides."""

import numpy as np
import pytest

from faceloss.evaluate.geometry import principal_plane, unit


def distances(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows[:, None] - rows, axis=2)


@pytest.fixture
def rows() -> np.ndarray:
    """Four directions with noise, of many lengths."""
    rng = np.random.default_rng(0)
    noisy = np.repeat(np.eye(4, 12), 9, axis=0) + 0.15 * rng.normal(size=(36, 12))
    return np.asarray(noisy * rng.uniform(1, 7, (36, 1)))


def test_share_and_places_are_those_of_the_covariance(rows):
    plane = principal_plane(rows)
    values = np.linalg.eigvalsh(np.cov(unit(rows).T))[::-1]
    assert values[1] > 1.05 * values[2]
    assert plane.share == pytest.approx((values[:2] / values.sum()).tolist(), abs=1e-12)
    assert 0.3 < sum(plane.share) < 0.9
    assert plane.places.var(axis=0, ddof=1) == pytest.approx(values[:2], abs=1e-12)
    assert plane.places.mean(axis=0) == pytest.approx([0, 0], abs=1e-12)
    assert abs(plane.places[:, 0] @ plane.places[:, 1]) < 1e-10


def test_distances_are_never_larger_than_on_the_sphere_and_equal_where_all_lies_in_the_plane(rows):
    shown, true = distances(principal_plane(rows).places), distances(unit(rows))
    assert (shown <= true + 1e-12).all()
    assert (shown < 0.5 * true).any()
    circle = np.exp(1j * np.random.default_rng(1).uniform(0, 4, 20))
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(7, 2)))
    flat = np.stack([circle.real, circle.imag], axis=1) @ turn.T
    plane = principal_plane(flat)
    assert sum(plane.share) == pytest.approx(1)
    assert np.allclose(distances(plane.places), distances(flat), atol=1e-12)


def test_neither_lengths_nor_a_turn_nor_a_mirror_change_the_map(rows):
    """What a network is free to do without any distance changing leaves the map as it is, signs included."""
    places = principal_plane(rows).places
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))
    for other in (rows * np.linspace(1, 9, 36)[:, None], -rows, rows @ turn, rows.astype(np.float32)):
        assert np.allclose(principal_plane(other).places, places, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_along_each_direction_the_farthest_row_is_on_the_positive_side(seed):
    places = principal_plane(np.random.default_rng(seed).normal(size=(20, 5))).places
    assert (places.max(axis=0) > -places.min(axis=0) + 1e-9).all()


def test_of_one_point_there_is_no_plane():
    plane = principal_plane(np.ones((5, 3)))
    assert plane.share == (0.0, 0.0)
    assert not plane.places.any()
