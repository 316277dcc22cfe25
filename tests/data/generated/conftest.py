"""A stand-in for the body model: a head of some thousand triangles, so that all but its own bytes is tested without."""

from pathlib import Path

import numpy as np
import pytest

from faceloss.data.generated.head import EYE, SKIN, Arrays, Head, load_head, save_head

ROWS, COLUMNS = 20, 28


def sphere(middle: tuple[float, float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V,3] and triangles [T,3] that look outwards."""
    up, around = np.mgrid[0 : np.pi : ROWS * 1j, 0 : 2 * np.pi : COLUMNS * 1j]
    points = np.stack([np.sin(up) * np.sin(around), -np.sin(up) * np.cos(around), np.cos(up)], axis=-1)
    row, column = np.mgrid[: ROWS - 1, : COLUMNS - 1].reshape(2, -1)
    a, b = row * COLUMNS + column, row * COLUMNS + column + 1
    triangles = np.concatenate([np.stack([a, a + COLUMNS, b], 1), np.stack([b, a + COLUMNS, b + COLUMNS], 1)])
    return points.reshape(-1, 3) * radius + middle, triangles


def stub_arrays() -> Arrays:
    """A ball with two smaller balls for eyes; three origins stretch it, two shapes and one expression move it."""
    balls = [sphere((0, 0.085, -0.03), 0.105), sphere((0.031, 0.01, 0), 0.014), sphere((-0.031, 0.01, 0), 0.014)]
    vertices = np.concatenate([points for points, _ in balls])
    each = len(balls[0][0])
    triangles = np.concatenate([triangles + each * k for k, (_, triangles) in enumerate(balls)])
    parts = np.repeat([SKIN, EYE, EYE], each)
    skin = np.flatnonzero(parts == SKIN)
    masks = np.zeros((len(vertices), 4))
    masks[skin, 0] = np.exp(-np.sum(((vertices[skin] - (0, -0.01, -0.065)) / 0.015) ** 2, axis=1))
    landmarks = np.zeros((5, len(vertices)))
    landmarks[0, parts == EYE] = np.repeat([1, 0], each) / each
    landmarks[1, parts == EYE] = np.repeat([0, 1], each) / each
    for row, place in ((2, (0, -0.02, -0.035)), (3, (0.025, 0, -0.068)), (4, (-0.025, 0, -0.068))):
        landmarks[row, skin[np.sum((vertices[skin] - place) ** 2, axis=1).argmin()]] = 1
    random = np.random.default_rng(5)
    bumps = [np.cos(vertices @ random.normal(0, 60, 3))[:, None] * vertices * 0.2 for _ in range(8)]
    moves = np.stack([bump.ravel() for bump in bumps]).astype(np.float32)
    return Arrays(
        template=vertices.astype(np.float32),
        moves=np.concatenate([moves[:4], moves[4:]]),  # three origins, one action, two shapes up and down
        products=np.eye(3, 26, dtype=np.float32),
        fold=np.eye(3, dtype=np.float32),
        triangles=triangles,
        parts=parts,
        reference=vertices.astype(np.float32),
        masks=masks,
        landmarks=landmarks,
        shapes=np.array(["l-cheek-volume-incr", "nose-trans-out"]),
        varied=np.array([True, True]),
        actions=np.array(["jawOpen"]),
    )


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    return stub_arrays()


@pytest.fixture(scope="session")
def cache(arrays: Arrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the stand-in lies where the head is looked for."""
    folder = tmp_path_factory.mktemp("heads")
    save_head(arrays, folder)
    return folder


@pytest.fixture(scope="session")
def head(cache: Path) -> Head:
    return load_head(cache)
